"""What is applied while workers join, on an API in memory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from threading import Event, Timer
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import Kind
from llmprov.errors import BundleError
from llmprov.inventory import Inventory
from llmprov.progress import NullProgress
from llmprov.runner import Journal
from llmprov.workflows import objects_beside
from llmprov.workflows.object_sets import ObjectSet
from llmprov.workflows.objects_beside import AppliedBeside, ObjectsBeside
from llmprov.workflows.phases import Phases
from tests.unit.cluster.fakeapi import FakeApi

EVERYWHERE, KINDS = "what runs on every node", "kinds of models"
SPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}


def definition(name: str) -> dict[str, object]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {"group": name.partition(".")[2], "names": {"kind": "Thing"}, "versions": [{"name": "v1"}]},
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }


@pytest.fixture
def stations(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> list[SimpleNamespace]:
    """Two stations that bring a kind each; tests may change what they hand out."""
    found = [station("one", definition("things.one.example"), SPACE), station("two", definition("things.two.example"))]
    monkeypatch.setattr(objects_beside, "stations_of", lambda stages: found if stages else ())
    monkeypatch.setattr(objects_beside, "open_cluster", lambda _: nullcontext(cluster))
    monkeypatch.setattr(objects_beside, "MODEL_KINDS", frozenset({Kind("one.example/v1", "Thing")}))
    return found


def station(stage: str, *objects: Mapping[str, object], on_every_node: bool = False) -> SimpleNamespace:
    return SimpleNamespace(stage=stage, sets=lambda *_: (ObjectSet(stage, objects),), on_every_node=on_every_node)


class Push:
    """A push of images that ends when it is told to."""

    def __init__(self) -> None:
        self.ended = Event()
        self.ended.set()
        self.waited_for = Event()

    @property
    def running(self) -> bool:
        return not self.ended.is_set()

    def wait(self, check: Callable[[], None]) -> None:
        while not self.ended.wait(0.01):
            check()
            self.waited_for.set()


@pytest.fixture
def push() -> Push:
    return Push()


@pytest.fixture
def phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phases:
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))
    return Phases(Journal.create("install"), NullProgress())


@pytest.fixture
def beside(
    phases: Phases,
    make_inventory: Callable[..., Inventory],
    lock: BundleLock,
    stations: list[SimpleNamespace],
    push: Push,
) -> Iterator[ObjectsBeside]:
    assert stations
    images = cast("Any", push)
    with ObjectsBeside(make_inventory(), lock, ["one"], push=images, phases=phases, progress=NullProgress()) as running:
        yield running


def defined(api: FakeApi) -> set[str]:
    return {name for kind, _, name in api.objects if kind.endswith("/customresourcedefinitions")}


def test_of_most_stations_only_kinds_of_models_are_defined(beside: ObjectsBeside, api: FakeApi, phases: Phases) -> None:
    beside.start()
    beside.start()
    assert beside.wait().changes == 1
    assert defined(api) == {"things.one.example"}
    assert ("v1/namespaces", "", "ns") not in api.objects
    assert [(phase.name, phase.beside) for phase in phases.table] == [(EVERYWHERE, True), (KINDS, True)]


def test_what_runs_on_every_node_is_applied_whole_and_first(
    beside: ObjectsBeside, stations: list[SimpleNamespace], api: FakeApi, phases: Phases
) -> None:
    stations.append(station("three", SPACE, on_every_node=True))
    beside.start()
    found = beside.wait()
    assert found.changes == 2
    assert found.live is not None
    assert len(found.live.objects) == 2
    assert api.objects["v1/namespaces", "", "ns"]["metadata"]["labels"]["llmprov.io/set"] == "three"
    assert [phase.name for phase in phases.table] == [EVERYWHERE, KINDS]


def test_nothing_names_an_image_before_all_are_pushed(
    beside: ObjectsBeside, stations: list[SimpleNamespace], api: FakeApi, phases: Phases, push: Push
) -> None:
    stations.append(station("three", SPACE, on_every_node=True))
    push.ended.clear()
    beside.start()
    assert push.waited_for.wait(10)
    assert len(defined(api)) == 1
    assert ("v1/namespaces", "", "ns") not in api.objects
    push.ended.set()
    assert beside.wait().changes == 2
    assert [phase.name for phase in phases.table] == [KINDS, EVERYWHERE]


def test_leaving_does_not_wait_for_the_push(beside: ObjectsBeside, push: Push) -> None:
    push.ended.clear()
    beside.start()
    assert push.waited_for.wait(10)
    beside.__exit__(None, None, None)
    assert push.running


def test_what_was_not_begun_is_not_waited_for(beside: ObjectsBeside, api: FakeApi) -> None:
    assert beside.wait() == AppliedBeside()
    assert not defined(api)


def test_its_errors_are_told_to_who_waits(beside: ObjectsBeside, stations: list[SimpleNamespace]) -> None:
    def missing(*_: object) -> tuple[ObjectSet, ...]:
        raise BundleError("the bundle has no file x", remedy="build it")

    stations[1].sets = missing
    beside.start()
    with pytest.raises(BundleError, match="no file x"):
        beside.wait()


def test_leaving_early_ends_it_at_the_next_object(
    beside: ObjectsBeside, stations: list[SimpleNamespace], api: FakeApi
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
