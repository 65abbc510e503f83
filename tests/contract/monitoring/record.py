"""Records what Prometheus stores of each scrape job, for the tests beside this file.

    python -m tests.contract.monitoring.record inventories/lab [JOB ...]

Run it against a lab under load, so that every metric has been there. Only what rules and dashboards name is kept, of
one target a job.
"""

import sys
from collections import Counter
from pathlib import Path

from llmprov import inventory
from llmprov.cluster.client import Cluster
from llmprov.manifests.monitoring import NAMESPACE
from llmprov.observability.configuration import job_names
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.monitoring import jobs
from tests.contract.monitoring.names import used

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "prometheus"
_FEDERATE = f"/api/v1/namespaces/{NAMESPACE}/services/prometheus:http/proxy/federate"
_MOST_OF_A_NAME = 60


def main(directory: Path, wanted: list[str]) -> None:
    """Write one file a job."""
    cluster = inventory.load(directory)
    with open_cluster(cluster) as api:
        for job in wanted or job_names(jobs(cluster)):
            lines = _lines(api, job)
            if lines:
                (SAMPLES / f"{job}.prom").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lines(api: Cluster, job: str) -> list[str]:
    with api.open("GET", _FEDERATE, query={"match[]": f'{{job="{job}"}}'}) as response:
        lines = response.read().decode().splitlines()
    names = used() - {"ALERTS"}
    kept = [line for line in lines if line.partition("{")[0] in names and "instance=" in line]
    if not kept:
        return []
    # A job of two components has what is asked for in one of them.
    fullest = Counter(map(_instance, kept)).most_common(1)[0][0]
    seen: Counter[str] = Counter()
    found: list[str] = []
    for line in (line for line in kept if _instance(line) == fullest):
        name = line.partition("{")[0]
        seen[name] += 1
        if seen[name] <= _MOST_OF_A_NAME:
            # Times would make every recording differ from the one before.
            found.append(line.rsplit(" ", 1)[0])
    return found


def _instance(line: str) -> str:
    return line.partition('instance="')[2].partition('"')[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
