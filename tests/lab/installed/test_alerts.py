"""Each fault fires its alert, and no other, and the alert goes when the fault does."""

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.lab.conftest import KUBECTL, Installed, Lab, with_power
from tests.lab.polling import until
from tests.load.__main__ import endpoint_of
from tests.load.client import lab_network
from tests.load.generator import Plan
from tests.load.running import load

pytestmark = pytest.mark.lab
# Two models, because a replica that froze a moment ago is not told of again when it is killed.
FROZEN, KILLED = "assistant", "smollm2"
# More than an engine of the lab runs at a time, and ten more.
FLOOD = 320
ALERTMANAGER = "/api/v1/namespaces/llmprov-monitoring/services/alertmanager:http/proxy/api/v2/alerts"
QUERY = "active=true&silenced=false&inhibited=false"
RULES = "/api/v1/namespaces/llmprov-monitoring/services/prometheus:http/proxy/api/v1/rules?type=alert"
# From a fault to its alert: two scrapes, the rule's own time, Alertmanager; several times that on a busy machine.
FIRES, RESOLVES = 150.0, 420.0
# In which whatever else a fault would fire is at least pending: some scrapes and evaluations.
SETTLES = 20.0
# What waits for longer than this before it fires, in seconds, is none of the alerts that the lab tells of at once.
SOON = 60.0


@pytest.fixture
def lab(installed: Installed) -> Lab:
    """The installed cluster, once every model is ready: an engine that starts cannot freeze, or be killed."""
    wait = "-n llmprov-models wait --for=condition=Available --timeout=110s deployment --all"
    until(
        lambda: "condition met" in installed.lab.ssh("cp1", f"{KUBECTL} {wait}", check=False),
        seconds=300,
        what="models",
    )
    return installed.lab


def test_engine_frozen(lab: Lab) -> None:
    fires_exactly(lab, "EngineFrozen", frozen(lab, FROZEN))


def test_replica_killed(lab: Lab) -> None:
    fires_exactly(lab, "ReplicaNotReady", killed(lab, KILLED))


def test_scrape_target_gone(lab: Lab) -> None:
    fires_exactly(lab, "TargetDown", without_exporters(lab))


def test_queue_flood(lab: Lab) -> None:
    fires_exactly(lab, "QueueGrowing", flood(lab, FROZEN), settles=0)


def test_worker_off(lab: Lab) -> None:
    lab = with_power(lab)
    fires_exactly(lab, "NodeNotReady", off(lab, "gpu2"))


def fires_exactly(lab: Lab, alert: str, fault: AbstractContextManager[object], *, settles: float = SETTLES) -> None:
    """Hold a fault until its alert fires, and some time more; then wait until nothing that it fired does."""
    watch = Watch(lab)
    with fault:
        until(lambda: alert in watch.now(), seconds=FIRES, what=f"{alert} to fire")
        if settles:
            watch.look_on(settles)
    until(lambda: not watch.now(), seconds=RESOLVES, what=f"{alert} to go")
    assert watch.seen == {alert}


class Watch:
    """Everything that fires from now on, beyond what fires already."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._before = firing(lab)
        self.seen: frozenset[str] = frozenset()

    def now(self) -> frozenset[str]:
        """What fires now."""
        fires = firing(self._lab) - self._before
        self.seen |= fires
        return fires

    def look_on(self, seconds: float) -> None:
        """Go on looking for a while, and then for as long as more is about to fire."""
        end = time.monotonic() + seconds

        def calm() -> bool:
            self.now()
            return time.monotonic() > end and not pending(self._lab)

        until(calm, seconds=seconds + SOON, what="what is pending to fire or to go")


def firing(lab: Lab) -> frozenset[str]:
    """Return the names of what fires and nothing else explains, but for the dead man's switch."""
    found = json.loads(lab.ssh("cp1", f"{KUBECTL} get --raw '{ALERTMANAGER}?{QUERY}'"))
    return frozenset(item["labels"]["alertname"] for item in found) - {"Watchdog"}


def pending(lab: Lab) -> frozenset[str]:
    """Return the names of what is true already and fires soon."""
    groups = json.loads(lab.ssh("cp1", f"{KUBECTL} get --raw '{RULES}'"))["data"]["groups"]
    rules = (rule for group in groups for rule in group["rules"])
    return frozenset(rule["name"] for rule in rules if rule["state"] == "pending" and rule["duration"] <= SOON)


def node_of(lab: Lab, model: str) -> str:
    """Return the node of a model's first replica."""
    query = "jsonpath='{.items[0].spec.nodeName}'"
    return lab.ssh("cp1", f"{KUBECTL} -n llmprov-models get pods -l llmprov.io/model={model} -o {query}").strip()


def send_signal(lab: Lab, host: str, model: str, name: str) -> None:
    """Send a signal to a model's engines; the brackets keep the shell that does it from being found itself."""
    lab.ssh(host, f"sudo pkill -{name} -f '[v]llm serve /models/{model} '")


@contextmanager
def frozen(lab: Lab, model: str) -> Iterator[None]:
    host = node_of(lab, model)
    send_signal(lab, host, model, "STOP")
    try:
        yield
    finally:
        send_signal(lab, host, model, "CONT")


@contextmanager
def killed(lab: Lab, model: str) -> Iterator[None]:
    send_signal(lab, node_of(lab, model), model, "KILL")
    yield


@contextmanager
def without_exporters(lab: Lab) -> Iterator[None]:
    patch = f"{KUBECTL} -n llmprov-monitoring patch daemonset node-exporter --type merge -p"
    nowhere = '{"spec": {"template": {"spec": {"nodeSelector": %s}}}}'
    lab.ssh("cp1", f"{patch} '{nowhere % json.dumps({'llmprov.io/nowhere': 'here'})}'")
    try:
        yield
    finally:
        lab.ssh("cp1", f"{patch} '{nowhere % 'null'}'")


@contextmanager
def flood(lab: Lab, model: str) -> Iterator[None]:
    plan = Plan([model], concurrency=FLOOD, tokens=64, timeout=600)
    with load(endpoint_of(lab.inventory, lab.environment), plan, lab_network(lab.inventory)):
        yield


@contextmanager
def off(lab: Lab, host: str) -> Iterator[None]:
    lab.llmprov("lab", "poweroff", host, "--hard", "--name", lab.name)
    try:
        yield
    finally:
        lab.llmprov("lab", "start", host, "--name", lab.name)
