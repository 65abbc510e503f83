"""One fault from beginning to end: made, seen by the plan, ended, repaired by one more install."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from llmprov.lab.tools import wait_until
from tests.faults.cluster import Looks, Stages, differences, install, looks, model_nodes, plan
from tests.lab.conftest import Lab
from tests.lab.polling import until
from tests.load.__main__ import endpoint_of
from tests.load.client import lab_network
from tests.load.generator import Plan
from tests.load.running import Running, load

type Deed = Callable[[Lab], None]


def nothing(lab: Lab) -> None:
    """Leave things as they are."""


class Serving(StrEnum):
    """What becomes of requests meanwhile."""

    WHOLE = "no request fails"
    COMES_BACK = "requests may fail at first and are answered again before the fault ends"
    DOWN = "requests may fail until the fault ends, and are answered again after it"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        do: makes it.
        plan: what the plan must say while it lasts: verdicts by host and stage, and of no other host or stage.
        because: words that the plan must give as a reason.
        undo: what no install can do: put a cable back, free a disk.
        meanwhile: exit codes that an install while it lasts may have; empty: none is tried.
        arguments: of the install that ends it.
        host: whose models' replicas are lost meanwhile; models that have others keep being asked.
        serving: what becomes of requests to the others.
        short: takes seconds, and needs no host to be powered off or filled.
    """

    name: str
    do: Deed
    plan: Stages
    because: str = ""
    undo: Deed = nothing
    meanwhile: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ()
    host: str = ""
    serving: Serving = Serving.WHOLE
    short: bool = False


def endure(lab: Lab, clean: Looks, fault: Fault) -> None:
    """Have a fault happen, and hold the product to its promise.

    Args:
        lab: an installed cluster that is as it should be.
        clean: how its hosts look then.
        fault: see `Fault`.
    """
    with asked(lab, besides=fault.host) as requests:
        ended = False
        try:
            fault.do(lab)
            _look_at_plan(lab, fault)
            if fault.meanwhile:
                install(lab, codes=fault.meanwhile)
            if fault.arguments:  # without them an install leaves alone what somebody else did
                install(lab)
                assert plan(lab).stages == fault.plan
            if fault.serving is Serving.COMES_BACK:
                _answered_again(requests)
            fault.undo(lab)
            ended = True
        finally:
            if not ended:
                fault.undo(lab)
        install(lab, *fault.arguments)
        _answered_again(requests)
    if fault.serving is Serving.WHOLE:
        assert [(failure.wrong, failure.detail) for failure in requests.report.failures] == []
    is_clean(lab, clean)


def is_clean(lab: Lab, clean: Looks) -> None:
    """Hold a cluster to the state after a clean install; pods may take a moment more than the install waited for."""
    left = plan(lab)
    assert left.stages == {}, left.reasons

    def settled() -> bool:
        nonlocal left
        left = plan(lab)
        return left.empty

    wait_until(settled, 120)
    assert left.empty, (left.reasons, left.rest)
    assert differences(clean, looks(lab)) == []


@contextmanager
def asked(lab: Lab, *, besides: str = "") -> Iterator[Running]:
    """Ask every model that has a replica on other hosts than one, one request at a time."""
    models = [name for name, nodes in model_nodes(lab).items() if nodes - {besides}]
    assert models, "no model could serve during this fault"
    plan_of_load = Plan(models, concurrency=1, tokens=8, timeout=60, keep_alive=False)
    with load(endpoint_of(lab.inventory, lab.environment), plan_of_load, lab_network(lab.inventory)) as requests:
        _answered_again(requests)
        yield requests


def _answered_again(requests: Running) -> None:
    """Wait for three whole answers in a row to requests that are sent from now on."""
    sent = len(requests.outcomes) + 1  # one may be under way
    until(
        lambda: len(last := requests.outcomes[sent:][-3:]) == 3 and not any(outcome.wrong for outcome in last),
        seconds=240,
        what="requests to be answered",
    )


def _look_at_plan(lab: Lab, fault: Fault) -> None:
    """The kubelet and systemd take a moment to notice some faults."""
    found = plan(lab)

    def as_expected() -> bool:
        nonlocal found
        found = plan(lab)
        return found.stages == fault.plan and fault.because in str(found.reasons)

    wait_until(as_expected, 60)
    assert found.stages == fault.plan
    assert fault.because in str(found.reasons)
