"""The part of an install that lives in Kubernetes, on an API in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmprov.bundle.lock import BundleLock
from llmprov.bundle.push import Selection
from llmprov.cluster.client import Cluster
from llmprov.cluster.live import LiveObjects
from llmprov.inventory import Inventory
from llmprov.manifests.model import NAMESPACE
from llmprov.progress import NullProgress, Progress, Step
from llmprov.results import Objects
from llmprov.runner import Journal
from llmprov.runner.journal import read
from llmprov.workflows import cluster as clusters
from llmprov.workflows import install_objects
from llmprov.workflows.install_objects import apply_objects
from llmprov.workflows.objects_beside import AppliedBeside, ObjectsBeside
from llmprov.workflows.phases import Phases
from llmprov.workflows.push_beside import PushBeside
from llmprov.workflows.push_job import PushJob
from tests.unit.cluster.fakeapi import FakeApi
from tests.unit.models.test_serving import finish, put_node

READY = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


def _put_ready_pod(api: FakeApi, name: str) -> None:
    started, ready = "2026-01-01T00:00:00Z", "2026-01-01T00:00:30Z"
    running = {"name": "vllm", "restartCount": 0, "ready": True, "state": {"running": {"startedAt": started}}}
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": ready}
    api.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"llmprov.io/model": "m"}},
            "spec": {"nodeName": "gpu1", "containers": [{"name": "vllm"}]},
            "status": {"containerStatuses": [running], "conditions": [condition]},
        }
    )


class _Controller(NullProgress):
    """Does what the cluster does: rolls the Deployment out as soon as somebody waits for it."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[Step]:
        if name == "model m":
            finish(self._api, "Deployment", NAMESPACE, "m", READY)
            _put_ready_pod(self._api, "m-new")
        with super().step(name, detail) as step:
            yield step


@pytest.fixture
def push(tmp_path: Path, make_inventory: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch) -> PushBeside:
    """A push that nobody begins: all is in the registry."""
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))
    job = PushJob.to_cluster(make_inventory(), Selection())
    return PushBeside(job, Phases(Journal.create("install"), NullProgress()))


def test_only_engines_that_this_run_started_are_timed(
    cluster: Cluster,
    api: FakeApi,
    make_inventory: Callable[..., Inventory],
    lock: BundleLock,
    push: PushBeside,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clusters, "open_cluster", lambda _: nullcontext(cluster))
    for name in ("cp1", "gpu1"):
        put_node(api, name, gpus=2)

    def run(progress: Progress) -> tuple[Phases, Objects]:
        phases = Phases(Journal.create("install"), progress)
        stages, inventory = ("models",), make_inventory()
        with ObjectsBeside(inventory, lock, stages, push=push, phases=phases, progress=progress) as beside:
            objects = apply_objects(
                inventory,
                lock,
                stages=stages,
                unfinished=stages,
                push=push,
                beside=beside,
                phases=phases,
                progress=progress,
            )
        return phases, objects

    phases, first = run(_Controller(api))
    assert [(start.pod, start.node, start.seconds) for start in first.starts] == [("m-new", "gpu1", 30.0)]
    assert "models" in {phase.name for phase in phases.table}
    journals = [read(path) for path in (tmp_path / "state" / "runs").glob("*/journal.jsonl")]
    (answer,) = (event for events in journals for event in events if event["event"] == "answer")
    assert answer["seconds"]
    _, second = run(NullProgress())
    assert second.starts == ()
    assert [model.name for model in second.models] == ["m"]


@pytest.mark.parametrize(
    ("defined", "order"),
    [
        (True, ["apply network", "apply models", "apply autoscaling"]),
        (False, ["apply network", "apply autoscaling", "apply models"]),
    ],
    ids=["kinds are defined", "kinds are not"],
)
def test_models_come_before_what_they_name_only_kinds_of(
    cluster: Cluster,
    api: FakeApi,
    make_inventory: Callable[..., Inventory],
    lock: BundleLock,
    push: PushBeside,
    monkeypatch: pytest.MonkeyPatch,
    *,
    defined: bool,
    order: list[str],
) -> None:
    monkeypatch.setattr(clusters, "open_cluster", lambda _: nullcontext(cluster))
    stations = (_station("network", on_every_node=True), _station("autoscaling"))
    monkeypatch.setattr(install_objects, "stations_of", lambda _: stations)
    for name in ("cp1", "gpu1"):
        put_node(api, name, gpus=2)
    progress = _Controller(api)
    phases = Phases(Journal.create("install"), progress)
    found = AppliedBeside(0, LiveObjects.read(cluster) if defined else None)
    beside = SimpleNamespace(wait=lambda: found)
    stages = ("network", "autoscaling", "models")
    apply_objects(
        make_inventory(),
        lock,
        stages=stages,
        unfinished=stages,
        push=push,
        beside=cast("Any", beside),
        phases=phases,
        progress=progress,
    )
    assert [phase.name for phase in phases.table if phase.name.startswith("apply")] == order


def _station(stage: str, *, on_every_node: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        stage=stage,
        changes=lambda *_, live: 0 if live else 1,
        wait=lambda *_: None,
        first=False,
        last=False,
        on_every_node=on_every_node,
    )
