"""The number of replicas follows the load, and nobody notices but by shorter waits."""

import math
from collections.abc import Iterator

import pytest

from tests.lab.conftest import KUBECTL, Installed, Lab
from tests.lab.polling import until
from tests.lab.serving import changed, served
from tests.load.__main__ import endpoint_of
from tests.load.client import lab_network
from tests.load.generator import Plan
from tests.load.running import load

pytestmark = pytest.mark.lab
MODEL = "smollm2"
PROMETHEUS = f"{KUBECTL} -n llmprov-monitoring scale deployment prometheus --replicas"


@pytest.fixture(scope="module")
def lab(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The installed cluster, with a cool-down that is just longer than a load on this machine."""
    own = installed.lab
    ready = own.llmprov("model", "deploy", MODEL, "-i", str(own.inventory), "--json").json
    took = max(replica["engine_start_seconds"] for replica in ready[0]["replicas"])
    directory = tmp_path_factory.mktemp("scaling")
    copy = changed(own, directory, MODEL, autoscaling={"target_requests": 4, "cooldown_seconds": math.ceil(took) + 5})
    own.llmprov("model", "deploy", MODEL, "-i", str(copy))
    yield own
    own.llmprov("model", "deploy", "-i", str(own.inventory))


def scaler(lab: Lab) -> str:
    query = "'{range .status.conditions[*]}{.type}={.status} {end}'"
    return lab.ssh("cp1", f"{KUBECTL} -n llmprov-models get scaledobject {MODEL} -o jsonpath={query}")


def test_one_to_two_and_back_without_a_failed_request(lab: Lab) -> None:
    endpoint, network = endpoint_of(lab.inventory, lab.environment), lab_network(lab.inventory)
    until(lambda: served(lab, MODEL)["wanted"] == 1, seconds=420, what="the replica of an earlier load to go")
    with load(endpoint, Plan([MODEL], concurrency=1), network) as light:
        with load(endpoint, Plan([MODEL], concurrency=8, tokens=64), network) as heavy:
            until(lambda: served(lab, MODEL)["ready"] == 2, seconds=240, what="a second replica")
        until(lambda: served(lab, MODEL)["wanted"] == 1, seconds=300, what="the second replica to go")
    assert len(heavy.report.outcomes) >= 8  # on a slow machine these are all there is time for
    assert heavy.report.failures == []
    assert light.report.failures == []


def test_without_prometheus_nothing_is_taken_away(lab: Lab) -> None:
    before = served(lab, MODEL)["wanted"]
    try:
        lab.ssh("cp1", f"{PROMETHEUS}=0")
        until(lambda: "Fallback=True" in scaler(lab), seconds=150, what="KEDA to fall back")
        assert served(lab, MODEL)["wanted"] == before
        shown = lab.llmprov("model", "show", MODEL, "-i", str(lab.inventory), "--json").json["autoscaling"]
        assert shown["state"].startswith("blind")
        assert shown["requests"] is None
    finally:
        lab.ssh("cp1", f"{PROMETHEUS}=1")
    until(lambda: "Fallback=False" in scaler(lab), seconds=150, what="KEDA to see again")
