"""`llmprov node` as a user types it, on an API in memory; the reset and etcd itself are tested on hosts."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from llmprov.cli.main import app
from llmprov.errors import BusyError, ClusterError, HostConnectionError, InventoryError
from llmprov.inventory import Inventory
from llmprov.manifests.model import MODEL_LABEL, NAMESPACE
from llmprov.workflows import install
from tests.unit.alone import Alone
from tests.unit.cluster.fakeapi import FakeApi
from tests.unit.nodes.conftest import Members
from tests.unit.ssh.fakessh import FakeSsh

GONE = "connect to host gpu2 port 22: No route to host\n"
PLANE = "node-role.kubernetes.io/control-plane"


def put_node(api: FakeApi, name: str, *, ready: bool = True) -> None:
    status = {
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "allocatable": {"nvidia.com/gpu": "2"},
    }
    labels = {PLANE: ""} if name.startswith("cp") else {}
    spec = {"taints": [{"key": PLANE, "effect": "NoSchedule"}]} if labels else {}
    meta = {"name": name, "labels": labels}
    api.put({"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec, "status": status})


def put_pod(api: FakeApi, name: str, node: str, owner: str, *, namespace: str = "ns", **labels: str) -> None:
    meta = {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [{"kind": owner, "name": "o"}]}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    spec = {"nodeName": node, "containers": [{"name": "c"}]}
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status})


@pytest.fixture(autouse=True)
def nodes(api: FakeApi) -> None:
    for name in ("cp1", "cp2", "cp3", "gpu1", "gpu2"):
        put_node(api, name)
    for name in ("cp1", "cp2", "cp3"):
        put_pod(api, f"etcd-{name}", name, "Node", namespace="kube-system", component="etcd", tier="control-plane")


def invoke(*words: str) -> Any:  # noqa: ANN401 - whatever the verb documents
    result = CliRunner().invoke(app, ["node", *words, "-i", "x", "--json"], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def names(api: FakeApi, plural: str) -> set[str]:
    return {name for kind, _, name in api.objects if kind == f"v1/{plural}"}


def test_drain_and_uncordon(api: FakeApi) -> None:
    put_pod(api, "coredns", "gpu2", "ReplicaSet")
    put_pod(api, "flannel", "gpu2", "DaemonSet")
    (done,) = invoke("drain", "gpu2")
    assert (done["node"], done["evicted"], done["staying"]) == ("gpu2", ["ns/coredns"], 1)
    assert api.objects["v1/nodes", "", "gpu2"]["spec"]["unschedulable"] is True
    assert invoke("uncordon", "gpu2") == [{"node": "gpu2", "changed": True, "finished": []}]
    assert "unschedulable" not in api.objects["v1/nodes", "", "gpu2"]["spec"]
    assert invoke("uncordon", "gpu2") == [{"node": "gpu2", "changed": False, "finished": []}]


def test_the_metrics_that_go_are_named(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLMPROV_PROGRESS", "plain")
    labels = {"app.kubernetes.io/name": "prometheus"}
    put_pod(api, "prometheus-1", "gpu2", "ReplicaSet", namespace="llmprov-monitoring", **labels)
    result = CliRunner().invoke(app, ["node", "drain", "gpu2", "-i", "x"])
    assert result.exit_code == 0
    assert "gpu2 is empty: 0 replicas replaced, 1 pod evicted" in result.stdout
    assert "the metrics that it has collected are lost" in result.stderr + capsys.readouterr().err


def test_a_replica_of_the_cluster_is_known_by_the_models_namespace(api: FakeApi) -> None:
    """What is let go, and not evicted, are pods with the labels of role and ReplicaSet."""
    hashed = {"pod-template-hash": "a", MODEL_LABEL: "m"}
    put_pod(api, "m-1", "gpu2", "ReplicaSet", namespace=NAMESPACE, **hashed)
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    meta = {"name": "m", "namespace": NAMESPACE}
    api.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 1}})
    with pytest.raises(ClusterError, match="gpu2 is not empty"):
        invoke("drain", "gpu2", "--timeout", "1")  # no controller here makes another one
    left = api.objects["v1/pods", NAMESPACE, "m-1"]["metadata"]
    assert "pod-template-hash" not in left["labels"]


def test_remove_drains_resets_and_forgets(api: FakeApi, resets: list[str], etcd: Members) -> None:
    put_pod(api, "coredns", "gpu2", "ReplicaSet")
    put_pod(api, "flannel", "gpu2", "DaemonSet")
    (done,) = invoke("remove", "gpu2", "--yes")
    assert resets == ["gpu2"]
    assert done["drained"]["evicted"] == ["ns/coredns"]
    assert (done["pods"], done["member"], done["reset"], done["declared"]) == (["ns/flannel"], False, True, True)
    assert names(api, "nodes") == {"cp1", "cp2", "cp3", "gpu1"}
    assert "flannel" not in names(api, "pods")
    assert etcd.names == ["cp1", "cp2", "cp3"]


def test_a_removal_goes_on_after_an_interruption(api: FakeApi, resets: list[str]) -> None:
    api.remove(("v1/nodes", "", "gpu2"))
    (done,) = invoke("remove", "gpu2", "--yes")
    assert done["drained"] is None
    assert resets == ["gpu2"]


def test_a_control_plane_leaves_etcd(etcd: Members) -> None:
    (done,) = invoke("remove", "cp3", "--yes")
    assert done["member"] is True
    assert etcd.names == ["cp1", "cp2"]


def test_what_the_cluster_cannot_do_without(api: FakeApi, resets: list[str]) -> None:
    with pytest.raises(ClusterError, match="cp1 is the first control plane") as caught:
        invoke("remove", "cp1", "--yes")
    assert "cluster_first_control_plane" in caught.value.remedy
    api.remove(("v1/pods", "kube-system", "etcd-cp2"))
    with pytest.raises(ClusterError, match="etcd would have 2 members, 1 of them healthy, and needs 2") as caught:
        invoke("remove", "cp3", "--yes")
    assert "bring back first: cp2" in caught.value.remedy
    assert resets == []
    assert not [request for request in api.requests if not request.startswith("GET")]


def test_a_dead_host_is_only_forgotten(api: FakeApi, hosts: FakeSsh, resets: list[str]) -> None:
    put_pod(api, "m", "gpu2", "ReplicaSet")
    with pytest.raises(ClusterError, match="gpu2 is alive: its node is Ready"):
        invoke("remove", "gpu2", "--yes", "--force")
    put_node(api, "gpu2", ready=False)
    with pytest.raises(ClusterError, match="gpu2 is alive: it answers over SSH"):
        invoke("remove", "gpu2", "--yes", "--force")
    hosts.fail_with(GONE)
    with pytest.raises(HostConnectionError, match="nothing was changed") as caught:
        invoke("remove", "gpu2", "--yes")
    assert "llmprov node remove gpu2 --force" in caught.value.remedy
    (done,) = invoke("remove", "gpu2", "--yes", "--force")
    assert (done["forced"], done["drained"], done["pods"], resets) == (True, None, ["ns/m"], [])
    assert "gpu2" not in names(api, "nodes")
    assert "m" not in names(api, "pods")


def test_a_node_that_left_the_inventory(api: FakeApi, resets: list[str]) -> None:
    put_node(api, "old")
    with pytest.raises(ClusterError, match="old is alive") as caught:
        invoke("remove", "old", "--yes")
    assert "put old into the inventory" in caught.value.remedy
    put_node(api, "old", ready=False)
    (done,) = invoke("remove", "old", "--yes")
    assert (done["forced"], done["declared"], resets) == (True, False, [])
    assert "old" not in names(api, "nodes")


def test_who_is_not_alone_any_more_stops(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    put_pod(api, "coredns", "gpu2", "ReplicaSet")

    def lost(_: Alone) -> None:
        raise BusyError("somebody else is at work")

    monkeypatch.setattr(Alone, "check", lost)
    with pytest.raises(BusyError):
        invoke("drain", "gpu2")
    assert "coredns" in names(api, "pods")


def test_slips_are_found(api: FakeApi) -> None:
    with pytest.raises(InventoryError) as caught:
        invoke("remove", "gpu22", "--yes")
    assert caught.value.remedy == "did you mean gpu2?"
    with pytest.raises(InventoryError, match="no host 'gpu22'") as caught:
        invoke("add", "gpu22")
    assert caught.value.remedy == "did you mean gpu2?"
    with pytest.raises(InventoryError) as caught:
        invoke("replace", "gpu2", "completely-new", "--yes")
    assert "add it to control_plane or workers" in caught.value.remedy
    assert not [request for request in api.requests if not request.startswith("GET")]


def test_without_a_terminal_nothing_is_made_bare_unasked(resets: list[str]) -> None:
    result = CliRunner().invoke(app, ["node", "remove", "gpu2", "-i", "x"])
    assert result.exit_code == 2
    assert resets == []


def test_replace_adds_first(
    monkeypatch: pytest.MonkeyPatch, api: FakeApi, inventory: Inventory, resets: list[str]
) -> None:
    api.remove(("v1/nodes", "", "gpu1"))

    class Done(Exception):  # noqa: N818 - ends the test where the install would begin
        pass

    def begin(request: install.Request, *_: object, **__: object) -> None:
        assert (request.inventory, request.limit, resets) == (inventory.path, "gpu1", [])
        raise Done

    monkeypatch.setattr(install, "install", begin)
    with pytest.raises(Done):
        invoke("replace", "gpu2", "gpu1", "--yes")
    assert "gpu2" in names(api, "nodes")
