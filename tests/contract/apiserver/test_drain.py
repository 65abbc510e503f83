"""What a drain asks of the API, and what a real one answers: evictions, budgets, replicas that are let go."""

from typing import Any

import pytest

from llmprov.cluster.client import Cluster
from llmprov.cluster.drain_plan import plan
from llmprov.cluster.evict import Answer, evict, force_delete, pods_on
from llmprov.cluster.nodes import cordon, delete_node, uncordon
from llmprov.cluster.objects import NODE, POD, Kind, Node, Pod
from llmprov.cluster.replicas import Replicas, let_go, let_go_at
from llmprov.cluster.rollout import TEMPLATE_HASH
from llmprov.errors import ClusterError

BUDGET = Kind("policy/v1", "PodDisruptionBudget")


def make_pod(cluster: Cluster, namespace: str, name: str, node: str, **labels: str) -> Pod:
    container = {"name": "c", "image": "x"}
    meta = {"name": name, "namespace": namespace, "labels": labels}
    target = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"nodeName": node, "containers": [container]},
    }
    cluster.apply(target)
    running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    return Pod.model_validate(cluster.merge(POD, name, running, namespace=namespace, subresource="status"))


def make_node(cluster: Cluster, name: str) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    cluster.merge(NODE, name, ready, subresource="status")


def allow(cluster: Cluster, namespace: str, disruptions: int) -> None:
    """Do what the disruption controller does."""
    found: Any = cluster.get(BUDGET, "web", namespace)
    status = {
        "observedGeneration": found["metadata"]["generation"],
        "disruptionsAllowed": disruptions,
        "currentHealthy": 1,
        "desiredHealthy": 1 - disruptions,
        "expectedPods": 1,
    }
    cluster.merge(BUDGET, "web", {"status": status}, namespace=namespace, subresource="status")


def test_a_budget_blocks_an_eviction_and_is_named(cluster: Cluster, namespace: str) -> None:
    pod = make_pod(cluster, namespace, "web", "n1", app="web")
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    meta = {"name": "web", "namespace": namespace}
    cluster.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec})
    allow(cluster, namespace, 0)
    blocked = evict(cluster, pod)
    assert blocked.answer is Answer.BLOCKED
    assert blocked.why == "The disruption budget web needs 1 healthy pods and has 1 currently"
    allow(cluster, namespace, 1)
    assert evict(cluster, pod).answer is Answer.TAKEN
    # No kubelet is here to say that it has stopped.
    (stopping,) = [found for found in pods_on(cluster, "n1") if found.metadata.namespace == namespace]
    assert stopping.metadata.deletion_timestamp is not None
    force_delete(cluster, pod)
    assert cluster.get(POD, "web", namespace) is None
    force_delete(cluster, pod)


def test_another_pod_of_the_same_name_is_not_evicted(cluster: Cluster, namespace: str) -> None:
    old = make_pod(cluster, namespace, "web", "n1")
    force_delete(cluster, old)
    assert evict(cluster, old).answer is Answer.GONE
    new = make_pod(cluster, namespace, "web", "n1")
    assert evict(cluster, old).answer is Answer.GONE
    found = cluster.get(POD, "web", namespace)
    assert found is not None
    assert Pod.model_validate(found).metadata.uid == new.metadata.uid
    assert Pod.model_validate(found).metadata.deletion_timestamp is None


def test_a_replica_is_let_go(cluster: Cluster, namespace: str) -> None:
    pod = make_pod(cluster, namespace, "m-1", "n1", model="m", **{TEMPLATE_HASH: "abc"})
    let_go(cluster, pod, 2)
    left = Pod.model_validate(cluster.get(POD, "m-1", namespace))
    assert let_go_at(left) == 2
    assert left.metadata.labels == {"model": "m"}
    force_delete(cluster, pod)
    let_go(cluster, pod, 2)  # it went by itself meanwhile


def test_a_node_is_cordoned_and_goes(cluster: Cluster, namespace: str) -> None:
    name = f"node-{namespace}"
    with pytest.raises(ClusterError, match="there is no node"):
        cordon(cluster, name)
    make_node(cluster, name)
    try:
        assert [cordon(cluster, name), cordon(cluster, name)] == [True, False]
        assert Node.model_validate(cluster.get(NODE, name)).spec.unschedulable
        assert [uncordon(cluster, name), uncordon(cluster, name)] == [True, False]
        make_pod(cluster, namespace, "mine", name)
        with pytest.raises(ClusterError, match="belong to no controller"):
            plan(cluster, [name], Replicas(namespace, "model"), force=False, drain_first=False)
    finally:
        delete_node(cluster, name)
    delete_node(cluster, name)
    assert cluster.get(NODE, name) is None
