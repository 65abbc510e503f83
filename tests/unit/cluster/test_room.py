from typing import Any

import pytest

from llmprov.cluster.client import Cluster
from llmprov.cluster.room import Room, quantity, rooms
from tests.unit.cluster.fakeapi import FakeApi

GIB = 1 << 30


def put_node(api: FakeApi, name: str, *, ready: str = "True", **spec: Any) -> None:  # noqa: ANN401
    allocatable = {"nvidia.com/gpu": "2", "memory": "16Gi"}
    status = {"conditions": [{"type": "Ready", "status": ready}], "allocatable": allocatable}
    api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec, "status": status})


def put_pod(api: FakeApi, name: str, node: str, phase: str = "Running", **meta: str) -> None:
    requests = {"nvidia.com/gpu": "1", "memory": "6Gi"}
    spec = {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": requests}}]}
    metadata = {"name": name, "namespace": "ns", **meta}
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}})


def test_what_pods_hold_is_taken(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "b")
    put_node(api, "a")
    put_pod(api, "p", "a")
    put_pod(api, "ended", "b", phase="Succeeded")
    put_pod(api, "stopping", "b", deletionTimestamp="2026-01-01T00:00:00Z")
    assert rooms(cluster) == (Room("a", 2, 1, 10 * GIB), Room("b", 2, 2, 16 * GIB))


def test_nodes_that_take_no_replica(cluster: Cluster, api: FakeApi) -> None:
    put_node(api, "gpu", taints=[{"key": "nvidia.com/gpu", "effect": "NoSchedule"}])
    put_node(api, "away", ready="Unknown")
    put_node(api, "cordoned", unschedulable=True)
    put_node(api, "cp", taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])
    assert [room.node for room in rooms(cluster)] == ["gpu"]


def test_a_pod_must_fit_in_gpus_and_in_memory() -> None:
    room = Room("a", 2, 1, 10 * GIB)
    assert room.fits(1, 10 * GIB)
    assert not room.fits(2, 0)
    assert not room.fits(1, 11 * GIB)
    assert room.less(1, GIB) == Room("a", 2, 0, 9 * GIB)


@pytest.mark.parametrize(
    ("text", "number"), [("2", 2), ("64Gi", 64 << 30), ("1.5k", 1500), ("200m", 0), ("1500m", 1), ("x", 0), ("1Zi", 0)]
)
def test_quantities(text: str, number: int) -> None:
    assert quantity(text) == number
