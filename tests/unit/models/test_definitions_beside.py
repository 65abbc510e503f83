"""Kinds are defined while workers join, on an API in memory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from threading import Event, Timer
from types import SimpleNamespace

import pytest

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.errors import BundleError
from llmprov.inventory import Inventory
from llmprov.progress import NullProgress
from llmprov.runner import Journal
from llmprov.workflows import definitions_beside
from llmprov.workflows.definitions_beside import DefinitionsBeside
from llmprov.workflows.object_sets import ObjectSet
from llmprov.workflows.phases import Phases
from tests.unit.cluster.fakeapi import FakeApi

SPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}


def definition(name: str) -> dict[str, object]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {"group": name.partition(".")[2], "names": {"kind": "Thing"}, "versions": []},
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }


@pytest.fixture
def stations(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> list[SimpleNamespace]:
    """Two stations that bring a kind each; tests may change what they hand out."""
    found = [station("one", definition("things.one.example"), SPACE), station("two", definition("things.two.example"))]
    monkeypatch.setattr(definitions_beside, "stations_of", lambda stages: found if stages else ())
    monkeypatch.setattr(definitions_beside, "open_cluster", lambda _: nullcontext(cluster))
    return found


def station(stage: str, *objects: Mapping[str, object]) -> SimpleNamespace:
    return SimpleNamespace(stage=stage, sets=lambda *_: (ObjectSet(stage, objects),))


@pytest.fixture
def phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phases:
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))
    return Phases(Journal.create("install"), NullProgress())


@pytest.fixture
def beside(
    phases: Phases, make_inventory: Callable[..., Inventory], lock: BundleLock, stations: list[SimpleNamespace]
) -> Iterator[DefinitionsBeside]:
    assert stations
    with DefinitionsBeside(make_inventory(), lock, ["one"], phases=phases, progress=NullProgress()) as running:
        yield running


def defined(api: FakeApi) -> set[str]:
    return {name for kind, _, name in api.objects if kind.endswith("/customresourcedefinitions")}


def test_kinds_are_defined_and_nothing_else(beside: DefinitionsBeside, api: FakeApi, phases: Phases) -> None:
    beside.start()
    beside.start()
    assert beside.wait() == 2
    assert defined(api) == {"things.one.example", "things.two.example"}
    assert ("v1/namespaces", "", "ns") not in api.objects
    assert [(phase.name, phase.beside) for phase in phases.table] == [("definitions", True)]


def test_what_was_not_begun_is_not_waited_for(beside: DefinitionsBeside, api: FakeApi) -> None:
    assert beside.wait() == 0
    assert not defined(api)


def test_its_errors_are_told_to_who_waits(beside: DefinitionsBeside, stations: list[SimpleNamespace]) -> None:
    def missing(*_: object) -> tuple[ObjectSet, ...]:
        raise BundleError("the bundle has no file x", remedy="build it")

    stations[1].sets = missing
    beside.start()
    with pytest.raises(BundleError, match="no file x"):
        beside.wait()


def test_leaving_early_ends_it_at_the_next_object(
    beside: DefinitionsBeside, stations: list[SimpleNamespace], api: FakeApi
) -> None:
    reached, left = Event(), Event()
    last = stations[1].sets

    def slow(*_: object) -> tuple[ObjectSet, ...]:
        reached.set()
        assert left.wait(10)
        found: tuple[ObjectSet, ...] = last()
        return found

    stations[1].sets = slow
    beside.start()
    assert reached.wait(10)
    Timer(0.2, left.set).start()
    beside.__exit__(None, None, None)
    assert defined(api) == {"things.one.example"}
