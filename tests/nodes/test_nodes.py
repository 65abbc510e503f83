"""Nodes come and go under load; what a drain moves is never missed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmprov import paths
from llmprov.errors import ExitCode
from llmprov.runner.journal import read
from tests.bench.node_add import JOINING, tasks_elsewhere
from tests.lab.conftest import KUBECTL, Installed, Lab, with_power
from tests.lab.polling import until
from tests.lab.serving import no_spare_gpu, pods, served
from tests.load.__main__ import endpoint_of
from tests.load.client import lab_network
from tests.load.generator import Plan
from tests.load.running import load

pytestmark = pytest.mark.lab
NODE = "gpu2"
# As if all had expired: the controller that takes expired ones away deletes them, too.
_FORGET_TOKENS = f"{KUBECTL} -n kube-system delete secret --field-selector type=bootstrap.kubernetes.io/token"


@pytest.fixture
def lab(installed: Installed) -> Iterator[Lab]:
    """The installed cluster with one replica of each model, all nodes taking pods again afterwards."""

    def few() -> bool:
        # One that stops has its GPU until it is gone.
        there = installed.lab.ssh("cp1", f"{KUBECTL} -n llmprov-models get pods -o name").split()
        wanted = [served(installed.lab, name)["wanted"] for name in ("assistant", "smollm2")]
        return wanted == [1, 1] and len(there) == len(wanted)

    until(few, seconds=420, what="replicas that an earlier load or drain left to go")
    yield installed.lab
    installed.lab.llmprov("node", "uncordon", NODE, "-i", str(installed.lab.inventory), check=False)


def models(lab: Lab) -> list[str]:
    listed = lab.llmprov("model", "list", "-i", str(lab.inventory), "--json").json
    return [model["served_name"] for model in listed]


def nodes(lab: Lab) -> dict[str, dict[str, Any]]:
    found = lab.llmprov("status", "-i", str(lab.inventory), "--json", check=False).json["nodes"]
    return {node["name"]: node for node in found}


def left_on(lab: Lab, node: str) -> dict[str, str]:
    """The pods of a node that belong to no DaemonSet, with what they belong to."""
    query = f"{KUBECTL} get pods -A -o json --field-selector spec.nodeName={node}"
    found = {}
    for item in json.loads(lab.ssh("cp1", query))["items"]:
        owners = [owner["kind"] for owner in item["metadata"].get("ownerReferences", [])]
        if owners != ["DaemonSet"]:
            found[item["metadata"]["name"]] = ", ".join(owners)
    return found


def serving_on(lab: Lab, node: str) -> set[str]:
    query = f"{KUBECTL} -n llmprov-models get pods -o json --field-selector spec.nodeName={node}"
    return {item["metadata"]["labels"]["llmprov.io/model"] for item in json.loads(lab.ssh("cp1", query))["items"]}


def replica_on(lab: Lab, node: str) -> str:
    """See to it that a model has a replica there; return its name."""
    if not serving_on(lab, node):
        other = next(name for name in nodes(lab) if name not in {node, "cp1"})
        lab.llmprov("node", "drain", other, "-i", str(lab.inventory))
        lab.llmprov("node", "uncordon", other, "-i", str(lab.inventory))
    return min(serving_on(lab, node))


def test_drain_under_load_cuts_no_request(lab: Lab) -> None:
    model = replica_on(lab, NODE)
    before = pods(lab, model)
    moving = set(left_on(lab, NODE))
    plan = Plan(models(lab), concurrency=2)
    with load(endpoint_of(lab.inventory, lab.environment), plan, lab_network(lab.inventory)) as running:
        (done,) = lab.llmprov("node", "drain", NODE, "-i", str(lab.inventory), "--json").json
        after_drain = len(running.outcomes)
        # Whoever was asked while the old replica stopped has answered, or never will.
        until(lambda: len(running.outcomes) >= after_drain + 6, seconds=120, what="answers after the drain")
    assert {outcome.model for outcome in running.report.outcomes} == set(models(lab))
    assert running.report.failures == []
    assert left_on(lab, NODE) == {}
    assert not nodes(lab)[NODE]["schedulable"]
    assert done["replaced"]
    assert {pod.partition("/")[2] for pod in (*done["replaced"], *done["evicted"])} >= moving
    assert pods(lab, model).keys() - before.keys()
    (back,) = lab.llmprov("node", "uncordon", NODE, "-i", str(lab.inventory), "--json").json
    assert back == {"node": NODE, "changed": True, "finished": []}
    assert nodes(lab)[NODE]["schedulable"]


def test_a_drain_that_was_given_up_is_ended_by_uncordon(lab: Lab) -> None:
    model = replica_on(lab, NODE)
    late = lab.llmprov("node", "drain", NODE, "--timeout", "1", "-i", str(lab.inventory), check=False)
    assert late.exit_code == ExitCode.CLUSTER
    assert f"{NODE} is not empty after 1 s" in late.stderr
    (back,) = lab.llmprov("node", "uncordon", NODE, "-i", str(lab.inventory), "--json").json
    assert back["finished"]
    until(
        lambda: len(pods(lab, model)) == 1 and "Running" in pods(lab, model).values(),
        seconds=120,
        what="one replica, as before",
    )


def test_without_room_a_drain_is_refused_with_the_numbers(lab: Lab) -> None:
    replica_on(lab, NODE)
    before = left_on(lab, NODE)
    with no_spare_gpu(lab):
        outcome = lab.llmprov("node", "drain", NODE, "--force", "-i", str(lab.inventory), check=False)
        assert nodes(lab)[NODE]["schedulable"]
    assert outcome.exit_code == ExitCode.MODEL
    assert "nothing was changed" in outcome.stderr
    assert "0 of 2 GPUs free" in outcome.stderr
    assert left_on(lab, NODE).keys() >= before.keys()


def test_the_first_control_plane_stays(lab: Lab) -> None:
    outcome = lab.llmprov("node", "remove", "cp1", "--yes", "-i", str(lab.inventory), check=False)
    assert outcome.exit_code == ExitCode.CLUSTER
    assert "it carries the cluster's registry" in outcome.stderr
    assert nodes(lab)["cp1"]["ready"]


def test_a_worker_is_removed_and_added_again(lab: Lab) -> None:
    runs = Path(lab.environment.get("LLMPROV_STATE_DIR") or paths.state_dir()) / "runs"
    (gone,) = lab.llmprov("node", "remove", NODE, "--yes", "-i", str(lab.inventory), "--json").json
    assert (gone["host"], gone["reset"], gone["forced"], gone["declared"]) == (NODE, True, False, True)
    assert NODE not in nodes(lab)
    assert "kubelet" not in lab.ssh(NODE, "ls /usr/local/bin")
    lab.ssh("cp1", _FORGET_TOKENS)
    before = set(runs.glob("*/journal.jsonl"))
    added = lab.llmprov("node", "add", NODE, "-i", str(lab.inventory), "--json", timeout=1800).json
    assert added["hosts"] == [NODE]
    assert nodes(lab)[NODE]["ready"]
    assert nodes(lab)[NODE]["gpus"] == 2
    installs = set(runs.glob("*-install-*/journal.jsonl")) - before
    elsewhere = [entry for journal in installs for entry in tasks_elsewhere(read(journal), NODE)]
    assert [task for _, task in elsewhere if task not in JOINING] == []


def test_a_worker_that_died_is_taken_out(lab: Lab) -> None:
    lab = with_power(lab)
    model = replica_on(lab, NODE)
    alive = lab.llmprov("node", "remove", NODE, "--force", "--yes", "-i", str(lab.inventory), check=False)
    assert alive.exit_code == ExitCode.CLUSTER
    assert f"{NODE} is alive" in alive.stderr
    lab.llmprov("lab", "poweroff", NODE, "--hard", "--name", lab.name)
    until(lambda: not nodes(lab)[NODE]["ready"], seconds=120, what="the node to be missed")
    asked = lab.llmprov("node", "remove", NODE, "--yes", "-i", str(lab.inventory), check=False)
    assert asked.exit_code == ExitCode.CONNECTION
    (gone,) = lab.llmprov("node", "remove", NODE, "--force", "--yes", "-i", str(lab.inventory), "--json").json
    assert (gone["forced"], gone["reset"], gone["drained"]) == (True, False, None)
    assert NODE not in nodes(lab)
    assert left_on(lab, NODE) == {}
    until(
        lambda: any(phase == "Running" for phase in pods(lab, model).values()), seconds=180, what="a replica elsewhere"
    )
    lab.llmprov("lab", "start", NODE, "--name", lab.name)
    # What is left on its disk is of a node that is no more.
    lab.llmprov("reset", "--limit", NODE, "--yes", "-i", str(lab.inventory))
    lab.llmprov("node", "add", NODE, "-i", str(lab.inventory), timeout=1800)
    assert nodes(lab)[NODE]["ready"]
