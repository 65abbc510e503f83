"""The part of an install that lives in Kubernetes, on an API in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.inventory import Inventory
from llmprov.manifests.model import NAMESPACE
from llmprov.progress import NullProgress, Step
from llmprov.results import Objects
from llmprov.workflows import models
from llmprov.workflows.install_objects import _models
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
    """Makes the Deployment's pod as soon as somebody waits for it."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[Step]:
        if name == "model m":
            _put_ready_pod(self._api, "m-new")
        with super().step(name, detail) as step:
            yield step


def test_only_engines_that_this_run_started_are_timed(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], lock: BundleLock
) -> None:
    inventory = make_inventory()
    put_node(api, "gpu1", gpus=2)
    models.deploy(cluster, inventory, lock, NullProgress())
    finish(api, "Deployment", NAMESPACE, "m", READY)

    first = _models(cluster, inventory, lock, _Controller(api), Objects())
    assert [(start.pod, start.node, start.seconds) for start in first.starts] == [("m-new", "gpu1", 30.0)]
    second = _models(cluster, inventory, lock, NullProgress(), Objects())
    assert second.starts == ()
    assert [model.name for model in second.models] == ["m"]
