"""Nodes are emptied: replicas of models are replaced before they go, everything else as its budgets allow."""

import copy
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from llmprov.cluster import drain as drains
from llmprov.cluster.client import Cluster
from llmprov.cluster.drain import drain, finish
from llmprov.cluster.drain_plan import plan
from llmprov.cluster.objects import LET_GO, POD, Pod
from llmprov.cluster.replicas import Replicas, Standing
from llmprov.errors import ClusterError, ModelError
from llmprov.node_states import Drained
from llmprov.progress import NullProgress
from tests.unit.cluster.fakeapi import FakeApi

type Json = dict[str, Any]
MODELS = Replicas("models", "model")
HASH = "pod-template-hash"
READY = [{"type": "Ready", "status": "True"}]


def put_node(api: FakeApi, name: str, gpus: int = 2, *, ready: str = "True") -> None:
    status = {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"nvidia.com/gpu": str(gpus)}}
    api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": status})


def put_pod(api: FakeApi, name: str, node: str, owner: str = "ReplicaSet", **meta: object) -> None:
    owners = [{"kind": owner, "name": "o"}] if owner else []
    metadata = {"name": name, "namespace": "ns", "labels": {}, "ownerReferences": owners, **meta}
    status = {"phase": "Running", "conditions": READY}
    spec = {"nodeName": node, "containers": [{"name": "c"}]}
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})


def put_model(api: FakeApi, replicas: int = 1) -> None:
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "models"}})
    meta = {"name": "m", "namespace": "models"}
    spec = {"replicas": replicas, "minReadySeconds": 0}
    api.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})


def put_replica(api: FakeApi, name: str, node: str, *, ready: bool = True, state: Json | None = None) -> None:
    labels = {"model": "m", HASH: "abc"}
    owner = [{"kind": "ReplicaSet", "name": "m-abc"}]
    meta = {"name": name, "namespace": "models", "labels": labels, "ownerReferences": owner}
    container = {"name": "vllm", "resources": {"requests": {"nvidia.com/gpu": "1"}}}
    status: Json = {"phase": "Running", "conditions": READY if ready else []}
    if state:
        status["containerStatuses"] = [{"name": "vllm", "state": state}]
    spec = {"nodeName": node, "containers": [container]}
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status})


def pods(api: FakeApi) -> dict[str, Json]:
    return {key[2]: item for key, item in list(api.objects.items()) if key[0] == "v1/pods"}


class ReplicaSetController:
    """Does what Kubernetes does: a pod without the label is let go, and another takes its place on gpu1."""

    def __init__(self, api: FakeApi, then: Callable[[str], None]) -> None:
        self.api = api
        self.replaced: list[str] = []
        self._then = then
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(0.01):
            for name, pod in pods(self.api).items():
                if "model" in pod["metadata"]["labels"] and HASH not in pod["metadata"]["labels"]:
                    self._let_go(name, pod)

    def _let_go(self, name: str, pod: Json) -> None:
        if name in self.replaced or not pod["metadata"]["ownerReferences"]:
            return
        self.replaced.append(name)
        orphan = copy.deepcopy(pod)
        orphan["metadata"]["ownerReferences"] = []
        self.api.put(orphan)
        put_replica(self.api, f"{name}-next", "gpu1", ready=False)
        threading.Timer(0.05, self._then, [f"{name}-next"]).start()


@pytest.fixture
def controller(api: FakeApi) -> Iterator[ReplicaSetController]:
    put_node(api, "gpu1")
    put_node(api, "gpu2")
    with ReplicaSetController(api, lambda name: put_replica(api, name, "gpu1")) as running:
        yield running


def emptied(cluster: Cluster, *nodes: str, seconds: float = 10, **options: bool) -> tuple[Drained, ...]:
    chosen = plan(cluster, nodes, MODELS, **{"force": False, "drain_first": False, **options})
    return drain(cluster, chosen, MODELS, NullProgress(), seconds=seconds)


def version(api: FakeApi, kind: str, name: str, holds: Callable[[Json], bool] = bool) -> int:
    """The first version at which an object was changed in that way and had that property."""
    return next(v for v, k, item in api.log if k == kind and item["metadata"]["name"] == name and holds(item))


@pytest.mark.usefixtures("controller")
def test_a_replica_goes_once_another_is_ready(cluster: Cluster, api: FakeApi) -> None:
    put_model(api)
    put_replica(api, "m-1", "gpu2")
    put_pod(api, "plugin", "gpu2", "DaemonSet")
    put_pod(api, "static", "gpu2", "Node", annotations={"kubernetes.io/config.mirror": "x"})
    put_pod(api, "coredns", "gpu2")
    put_pod(api, "elsewhere", "gpu1")
    (done,) = emptied(cluster, "gpu2")
    assert (done.node, done.replaced, done.evicted, done.staying) == ("gpu2", ("models/m-1",), ("ns/coredns",), 2)
    assert pods(api).keys() == {"m-1-next", "plugin", "static", "elsewhere"}
    ready = version(api, "MODIFIED", "m-1-next", lambda item: item["status"]["conditions"] == READY)
    assert ready < version(api, "DELETED", "m-1")
    cordoned = version(api, "MODIFIED", "gpu2", lambda item: item["spec"].get("unschedulable") is True)
    assert cordoned < version(api, "MODIFIED", "m-1")


@pytest.mark.usefixtures("controller")
def test_two_replicas_of_one_node_need_two_others(cluster: Cluster, api: FakeApi) -> None:
    put_model(api, replicas=2)
    put_replica(api, "m-1", "gpu2")
    put_replica(api, "m-2", "gpu2")
    (done,) = emptied(cluster, "gpu2")
    assert set(done.replaced) == {"models/m-1", "models/m-2"}
    last = max(
        version(api, "MODIFIED", f"m-{n}-next", lambda item: item["status"]["conditions"] == READY) for n in (1, 2)
    )
    assert last < min(version(api, "DELETED", f"m-{n}") for n in (1, 2))


def test_a_drain_that_was_interrupted_goes_on(cluster: Cluster, api: FakeApi, controller: ReplicaSetController) -> None:
    put_model(api)
    put_replica(api, "m-1", "gpu2")
    # Killed right after the replica was let go.
    cluster.merge(POD, "m-1", {"metadata": {"labels": {HASH: None}, "annotations": {LET_GO: "1"}}}, namespace="models")
    (done,) = emptied(cluster, "gpu2")
    assert done.replaced == ("models/m-1",)
    assert controller.replaced == ["m-1"]
    assert pods(api).keys() == {"m-1-next"}


def test_uncordon_ends_what_a_drain_began(cluster: Cluster, api: FakeApi) -> None:
    put_model(api)
    put_replica(api, "m-1", "gpu2")
    cluster.merge(POD, "m-1", {"metadata": {"labels": {HASH: None}, "annotations": {LET_GO: "1"}}}, namespace="models")
    put_replica(api, "m-2", "gpu1", ready=False)
    with pytest.raises(ClusterError, match="1 replicas that were let go have no replacement") as caught:
        finish(cluster, "gpu2", MODELS, NullProgress(), seconds=0.1)
    assert caught.value.details == ("models/m-1: waits for another replica",)
    threading.Timer(0.05, put_replica, [api, "m-2", "gpu1"]).start()
    assert finish(cluster, "gpu2", MODELS, NullProgress(), seconds=10) == ("models/m-1",)
    assert pods(api).keys() == {"m-2"}


def test_fewer_are_enough_once_the_autoscaler_wants_fewer(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu1")
    put_node(api, "gpu2")
    put_model(api, replicas=2)
    put_replica(api, "m-1", "gpu2")
    put_replica(api, "m-2", "gpu1")
    with pytest.raises(ClusterError, match="gpu2 is not empty"):
        emptied(cluster, "gpu2", seconds=0.2)
    assert "m-1" in pods(api)
    put_model(api, replicas=1)
    (done,) = emptied(cluster, "gpu2")
    assert done.replaced == ("models/m-1",)


def test_a_replacement_that_crashes_leaves_the_old_one(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu1")
    put_node(api, "gpu2")
    put_model(api)
    put_replica(api, "m-1", "gpu2")

    def crash(name: str) -> None:
        put_replica(api, name, "gpu1", ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}})

    with (
        ReplicaSetController(api, crash),
        pytest.raises(ClusterError, match="was to replace m-1 cannot start") as caught,
    ):
        emptied(cluster, "gpu2")
    assert "uncordon gpu2" in caught.value.remedy
    assert caught.value.details[0].startswith("m-1 goes on serving")
    assert "m-1" in pods(api)


def test_without_room_nothing_is_changed(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu1", gpus=1)
    put_node(api, "gpu2")
    put_model(api, replicas=2)
    put_replica(api, "m-1", "gpu2")
    put_replica(api, "m-2", "gpu2")
    with pytest.raises(ModelError, match="no room for 1 replicas") as caught:
        emptied(cluster, "gpu2")
    assert "the replica of m on gpu2 needs 1 GPUs on another node" in caught.value.details
    assert any("gpu1: 1 of 1 GPUs free" in line for line in caught.value.details)
    assert not [request for request in api.requests if not request.startswith("GET")]


def test_drained_together_none_is_room_for_the_other(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu1")
    put_node(api, "gpu2")
    put_model(api)
    put_replica(api, "m-1", "gpu2")
    with pytest.raises(ModelError, match="no room") as caught:
        plan(cluster, ["gpu1", "gpu2"], MODELS, force=False, drain_first=False)
    assert "no other node takes replicas" in caught.value.details[-1]


def test_without_room_a_replica_may_be_told_to_stop_first(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu1", gpus=0)
    put_node(api, "gpu2")
    put_model(api)
    put_replica(api, "m-1", "gpu2")
    chosen = plan(cluster, ["gpu2"], MODELS, force=False, drain_first=True)
    assert chosen.warnings == ("model m: no room for another replica, so it does not answer until there is some",)
    (done,) = drain(cluster, chosen, MODELS, NullProgress(), seconds=5)
    assert done.evicted == ("models/m-1",)
    assert done.replaced == ()


@pytest.mark.usefixtures("controller")
def test_one_has_room_and_one_has_not(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu1", gpus=1)
    put_model(api, replicas=2)
    put_replica(api, "m-1", "gpu2")
    put_replica(api, "m-2", "gpu2")
    (done,) = emptied(cluster, "gpu2", drain_first=True)
    assert len(done.replaced) == len(done.evicted) == 1


def test_a_pod_of_nobody_is_only_lost_by_force(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu2")
    put_pod(api, "mine", "gpu2", "")
    with pytest.raises(ClusterError, match="belong to no controller") as caught:
        emptied(cluster, "gpu2")
    assert caught.value.details == ("ns/mine on gpu2",)
    assert not [request for request in api.requests if not request.startswith("GET")]
    (done,) = emptied(cluster, "gpu2", force=True)
    assert done.evicted == ("ns/mine",)


def test_a_budget_that_blocks_is_asked_again(cluster: Cluster, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drains, "_ASK_AGAIN", 0.0)
    put_node(api, "gpu2")
    put_pod(api, "web", "gpu2")
    api.budgets["web"] = 1
    (done,) = emptied(cluster, "gpu2")
    assert done.evicted == ("ns/web",)


def test_a_budget_that_blocks_to_the_end_is_named(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu2")
    put_pod(api, "web", "gpu2")
    api.budgets["web"] = 1000
    with pytest.raises(ClusterError, match=r"gpu2 is not empty after 0 s: 1 left") as caught:
        emptied(cluster, "gpu2", seconds=0.2)
    assert caught.value.details == (
        "ns/web: waits: The disruption budget web needs 1 healthy pods and has 1 currently",
    )
    assert "llmprov node drain gpu2" in caught.value.remedy
    assert sum("eviction" in request for request in api.requests) == 1  # not as fast as it can


def test_nodes_that_cannot_be_drained(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu2", ready="Unknown")
    with pytest.raises(ClusterError, match="no node gpu3"):
        emptied(cluster, "gpu3")
    with pytest.raises(ClusterError, match="gpu2: not Ready") as caught:
        emptied(cluster, "gpu2")
    assert "--force" in caught.value.remedy


def test_a_replica_stands_in_once_everybody_has_learned_of_it(
    cluster: Cluster, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    put_model(api)
    deployment = api.objects["apps/v1/deployments", "models", "m"]
    api.put({**deployment, "spec": {"replicas": 1, "minReadySeconds": 5}})
    put_replica(api, "m-2", "gpu1")
    put_pod(api, "m-1", "gpu2", "", namespace="models", labels={"model": "m"}, annotations={LET_GO: "1"})
    listed = [Pod.model_validate(item) for item in cluster.list(POD).items]
    old = next(pod for pod in listed if pod.metadata.name == "m-1")
    standing = Standing(cluster, MODELS)
    for later, may_go in ((0, False), (4, False), (5, True)):
        now = 100.0 + later
        standing.look(listed)
        assert standing.replaced(old, listed) is may_go
    put_replica(api, "m-2", "gpu1", ready=False)  # it counts anew when it comes back
    standing.look([Pod.model_validate(item) for item in cluster.list(POD).items])
    standing.look(listed)
    assert not standing.replaced(old, listed)
