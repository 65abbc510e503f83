from dataclasses import replace
from threading import Timer
from typing import Any

import pytest

from llmprov.cluster.client import Cluster
from llmprov.cluster.nodes import node_states, set_labels, wait_nodes_ready
from llmprov.cluster.objects import DAEMONSET, DEPLOYMENT
from llmprov.cluster.rollout import Workload, wait_rolled_out
from llmprov.errors import ClusterError
from llmprov.progress import NullProgress
from tests.unit.cluster.fakeapi import FakeApi

WORKLOAD = Workload(DEPLOYMENT, "ns", "m", {"llmprov.io/model": "m"}, seconds=5, title="m")
READY = [{"type": "Ready", "status": "True"}]


def put_deployment(api: FakeApi, **status: Any) -> None:  # noqa: ANN401
    api.put(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "m", "namespace": "ns", "generation": 1},
            "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, **status},
        }
    )


def put_pod(api: FakeApi, *, conditions: object = (), container: object = None, **meta: object) -> None:
    api.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "m-1", "namespace": "ns", "labels": {"llmprov.io/model": "m"}, **meta},
            "spec": {"nodeName": "gpu1", "containers": [{"name": "vllm"}]},
            "status": {"conditions": list(conditions), "containerStatuses": [container] if container else []},  # type: ignore[call-overload]
        }
    )


def put_node(
    api: FakeApi, name: str, *, ready: bool = True, gpus: str = "", labels: dict[str, str] | None = None
) -> None:
    condition = {"type": "Ready", "status": str(ready), "reason": "KubeletNotReady", "message": "no network"}
    resources = {"nvidia.com/gpu": gpus} if gpus else {}
    api.put(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels or {}},
            "status": {"conditions": [condition], "capacity": resources, "allocatable": resources},
        }
    )


def test_a_rollout_ends_when_the_pod_is_ready(cluster: Cluster, api: FakeApi) -> None:
    put_deployment(api)
    put_pod(api)

    def finish() -> None:
        put_deployment(api, replicas=1, updatedReplicas=1, availableReplicas=1, readyReplicas=1)
        put_pod(api, conditions=READY)

    Timer(0.05, finish).start()
    (replica,) = wait_rolled_out(cluster, "ns", [WORKLOAD], NullProgress())["m"]
    assert (replica.pod, replica.node) == ("m-1", "gpu1")


def test_a_pod_that_the_kubelet_refused_is_not_waited_for(cluster: Cluster, api: FakeApi) -> None:
    put_deployment(api, replicas=1, updatedReplicas=1, availableReplicas=1, readyReplicas=1)
    put_pod(api, conditions=READY)
    # As after a node's reboot, before its device plugin is back.
    refused = {"name": "m-0", "namespace": "ns", "labels": {"llmprov.io/model": "m"}}
    status = {"phase": "Failed", "reason": "UnexpectedAdmissionError"}
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": refused, "spec": {"nodeName": "gpu1"}, "status": status})
    (replica,) = wait_rolled_out(cluster, "ns", [WORKLOAD], NullProgress())["m"]
    assert replica.pod == "m-1"


def test_a_crash_is_reported_with_the_last_lines(cluster: Cluster, api: FakeApi) -> None:
    put_deployment(api)
    api.logs["m-1/true"] = "ValueError: no such model\n"
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    put_pod(api, container={"name": "vllm", "restartCount": 1, "state": state})
    with pytest.raises(ClusterError, match="m-1") as caught:
        wait_rolled_out(cluster, "ns", [WORKLOAD], NullProgress())
    assert caught.value.details == ("ValueError: no such model",)


def test_a_crash_of_an_older_revision_is_no_failure(cluster: Cluster, api: FakeApi) -> None:
    put_deployment(api)
    put_pod(
        api,
        container={"name": "vllm", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        labels={"llmprov.io/model": "m", "pod-template-hash": "old"},
    )
    for revision, name in (("1", "old"), ("2", "new")):
        labels = {"llmprov.io/model": "m", "pod-template-hash": name}
        meta = {"name": name, "namespace": "ns", "labels": labels}
        meta["annotations"] = {"deployment.kubernetes.io/revision": revision}
        api.put({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta})
    with pytest.raises(ClusterError, match="not ready after"):
        wait_rolled_out(cluster, "ns", [replace(WORKLOAD, seconds=0.1)], NullProgress())
    api.remove(("apps/v1/replicasets", "ns", "new"))
    with pytest.raises(ClusterError, match="crashed"):
        wait_rolled_out(cluster, "ns", [WORKLOAD], NullProgress())


def test_no_room_is_no_failure_while_another_pod_stops(cluster: Cluster, api: FakeApi) -> None:
    put_deployment(api)
    full = {"type": "PodScheduled", "status": "False", "message": "Insufficient nvidia.com/gpu"}
    put_pod(api, conditions=[{**full, "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    stopping = {"name": "old", "namespace": "ns", "labels": {}, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": stopping, "spec": {}, "status": {}})
    with pytest.raises(ClusterError, match="not ready after"):
        wait_rolled_out(cluster, "ns", [replace(WORKLOAD, seconds=0.1)], NullProgress())
    api.remove(("v1/pods", "ns", "old"))
    with pytest.raises(ClusterError, match="no node can take it"):
        wait_rolled_out(cluster, "ns", [WORKLOAD], NullProgress())


def test_pods_that_are_refused(cluster: Cluster, api: FakeApi) -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}
    put_deployment(api, conditions=[refused])
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        wait_rolled_out(cluster, "ns", [WORKLOAD], NullProgress())


def test_time_is_over_with_what_each_pod_does(cluster: Cluster, api: FakeApi) -> None:
    put_deployment(api)
    put_pod(api)
    with pytest.raises(ClusterError, match="not ready after") as caught:
        wait_rolled_out(cluster, "ns", [replace(WORKLOAD, seconds=0.1)], NullProgress())
    assert caught.value.details == ("m-1: scheduled on gpu1",)


def test_one_that_fails_does_not_hide_another(cluster: Cluster, api: FakeApi) -> None:
    put_deployment(api)
    put_pod(api, container={"name": "vllm", "state": {"waiting": {"reason": "CrashLoopBackOff"}}})
    gone = Workload(DEPLOYMENT, "ns", "gone", {"llmprov.io/model": "gone"}, seconds=5, title="gone")
    with pytest.raises(ClusterError, match="2 workloads") as caught:
        wait_rolled_out(cluster, "ns", [WORKLOAD, gone], NullProgress())
    assert any("m-1" in line for line in caught.value.details)
    assert any("gone is gone" in line for line in caught.value.details)


def test_a_workload_that_vanishes(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="is gone"):
        wait_rolled_out(cluster, "ns", [WORKLOAD], NullProgress())


def test_a_daemonset_needs_a_pod_on_every_node(cluster: Cluster, api: FakeApi) -> None:
    numbers = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}
    meta = {"name": "d", "namespace": "ns"}
    api.put({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta, "status": numbers})
    workload = Workload(DAEMONSET, "ns", "d", {"x": "y"}, seconds=1, title="d")
    assert wait_rolled_out(cluster, "ns", [workload], NullProgress()) == {"d": ()}


def test_nodes_that_do_not_come_are_named(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "a")
    put_node(api, "b", ready=False)
    with pytest.raises(ClusterError, match="2 of 3") as caught:
        wait_nodes_ready(cluster, ["a", "b", "c"], NullProgress(), seconds=0.1)
    assert caught.value.details == ("b: KubeletNotReady: no network", "c: has not joined")
    wait_nodes_ready(cluster, ["a"], NullProgress(), seconds=1)


def test_labels_are_set_once(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "a")
    assert set_labels(cluster, "a", {"x": "y"})
    assert not set_labels(cluster, "a", {"x": "y"})
    with pytest.raises(ClusterError, match="no node b"):
        set_labels(cluster, "b", {"x": "y"})


def test_node_states_count_used_gpus(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu1", gpus="8", labels={"node-role.kubernetes.io/control-plane": ""})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {
            "nodeName": "gpu1",
            "containers": [{"name": "c", "resources": {"requests": {"nvidia.com/gpu": "4"}}}],
        },
        "status": {"phase": "Running"},
    }
    api.put(pod)
    api.put({**pod, "metadata": {"name": "done", "namespace": "ns"}, "status": {"phase": "Succeeded"}})
    (state,) = node_states(cluster)
    assert (state.gpus, state.gpus_used, state.ready, state.control_plane) == (8, 4, True, True)
