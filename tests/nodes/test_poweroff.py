"""A worker loses its power: what was on its way on it fails, and nothing else."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from llmprov.manifests.gateway import NAMESPACE, PROXY_LABELS
from tests.lab.conftest import KUBECTL, Installed, Lab, with_power
from tests.lab.polling import until
from tests.lab.serving import served
from tests.load.__main__ import endpoint_of
from tests.load.client import lab_network
from tests.load.generator import Outcome, Plan
from tests.load.running import Running, load

pytestmark = pytest.mark.lab
WORKER = "gpu2"
MODEL = "smollm2"
# In which requests that begin after the loss may still fail.
GRACE = 10.0
# What it takes the control plane to miss a node, and an engine to start beside everything else.
MISSED, STARTS = 150.0, 420.0
PROXIES = ",".join(f"{key}={value}" for key, value in PROXY_LABELS.items())


@pytest.fixture
def lab(installed: Installed) -> Iterator[Lab]:
    """The installed cluster, with a second replica."""
    found = with_power(installed.lab)
    found.llmprov("model", "scale", MODEL, "2", "-i", str(found.inventory))
    yield found
    found.llmprov("model", "deploy", "-i", str(found.inventory))


@contextmanager
def without(lab: Lab, host: str) -> Iterator[float]:
    """Take a host's power for as long as the context lasts; yields when, by the monotonic clock."""
    moment = time.monotonic()
    try:
        lab.llmprov("lab", "poweroff", host, "--hard", "--name", lab.name)
        yield moment
    finally:
        lab.llmprov("lab", "start", host, "--name", lab.name)


def kubectl(lab: Lab, words: str) -> str:
    return lab.ssh("cp1", f"{KUBECTL} {words}")


def replicas(lab: Lab) -> dict[str, str]:
    """Return the addresses of the model's replicas, by node."""
    items = json.loads(kubectl(lab, f"-n llmprov-models get pods -l llmprov.io/model={MODEL} -o json"))["items"]
    stay = [item for item in items if "deletionTimestamp" not in item["metadata"]]
    return {item["spec"]["nodeName"]: item["status"]["podIP"] for item in stay if item["status"].get("podIP")}


def ready(lab: Lab) -> str:
    """Return what the API says of the worker: True, False or Unknown."""
    query = """jsonpath='{.status.conditions[?(@.type=="Ready")].status}'"""
    return kubectl(lab, f"get node {WORKER} -o {query}").strip()


def answers(lab: Lab, since: datetime) -> list[dict[str, object]]:
    """Return what the first control plane's proxy wrote of requests to the model that began since then.

    Clients send to that node, and its own proxy takes what they send.
    """
    selection = f"-n {NAMESPACE} -l {PROXIES} --field-selector spec.nodeName=cp1"
    [pod] = kubectl(lab, f"get pods {selection} -o name").split()
    text = kubectl(lab, f"logs -n {NAMESPACE} {pod} -c envoy --since-time={since.isoformat(timespec='seconds')}")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line["model"] == MODEL and datetime.fromisoformat(line["time"]) >= since]


def on(address: str, lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """Of these, return those that went to a replica."""
    return [line for line in lines if str(line["replica"]).rpartition(":")[0] == address]


def spoiled(line: dict[str, object]) -> bool:
    """Whether the proxy saw a request end otherwise than by a whole answer."""
    return str(line["status"]) != "200" or line["flags"] not in {None, "-"}


def more(running: Running, count: int) -> None:
    """Wait for so many more answers."""
    before = len(running.outcomes)
    until(lambda: len(running.outcomes) >= before + count, seconds=180, what=f"{count} answers")


def test_a_worker_without_power_takes_only_its_own_requests_with_it(lab: Lab) -> None:
    addresses = replicas(lab)
    assert WORKER in addresses
    assert len(addresses) == 2, "a replica on each of two workers"
    plan = Plan([MODEL], concurrency=2, tokens=48, timeout=60)
    since = datetime.now(UTC)
    with load(endpoint_of(lab.inventory, lab.environment), plan, lab_network(lab.inventory)) as running:
        serves(lab, since, *addresses.values())
        with without(lab, WORKER) as moment:
            until(lambda: ready(lab) == "Unknown", seconds=MISSED, what="the control plane to miss the worker")
            more(running, 8)
        until(lambda: ready(lab) == "True", seconds=MISSED, what="the worker to be back")
        until(lambda: served(lab, MODEL)["ready"] == 2, seconds=STARTS, what="its replica to be ready")
        serves(lab, since, replicas(lab)[WORKER])
    ended = time.monotonic()
    judge(running.report.outcomes, moment - (ended - running.report.seconds))
    bad = [line for line in answers(lab, since) if spoiled(line)]
    assert bad == on(addresses[WORKER], bad), "the other replica's answers were whole"
    assert len(running.report.failures) <= len(bad), "the proxy knows of each failure"


def serves(lab: Lab, since: datetime, *addresses: str) -> None:
    """Wait until replicas have answered."""
    until(
        lambda: all(any(not spoiled(line) for line in on(address, answers(lab, since))) for address in addresses),
        seconds=180,
        what="an answer of each replica",
    )


def judge(outcomes: list[Outcome], moment: float) -> None:
    """Hold the records to the promise; `moment` is that of the loss, by their clock."""
    for one in (outcome for outcome in outcomes if outcome.wrong):
        assert one.start + one.seconds > moment, f"failed before there was a reason: {one}"
        assert one.start < moment + GRACE, f"began {one.start - moment:.1f} s after the loss: {one}"
    assert len([outcome for outcome in outcomes if outcome.start >= moment + GRACE]) >= 5
