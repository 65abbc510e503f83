"""All roles together: nodes are Ready, and the settings that were written are the ones in force."""

import json
from typing import Any

import pytest
from testinfra.host import Host

KUBECTL = "/usr/local/bin/kubectl --kubeconfig /etc/kubernetes/admin.conf --cache-dir=/run/llmprov/kubectl"


@pytest.fixture(scope="session")
def nodes(cp1: Host) -> dict[str, Any]:
    """Node objects by name."""
    items = json.loads(cp1.check_output(f"{KUBECTL} get nodes -o json"))["items"]
    return {item["metadata"]["name"]: item for item in items}


def test_every_host_is_a_ready_node(nodes: dict[str, Any]) -> None:
    assert set(nodes) == {"cp1", "gpu1"}
    for item in nodes.values():
        ready = [entry["status"] for entry in item["status"]["conditions"] if entry["type"] == "Ready"]
        assert ready == ["True"]


def test_nodes_have_the_inventorys_addresses(nodes: dict[str, Any]) -> None:
    addresses = {
        name: entry["address"]
        for name, item in nodes.items()
        for entry in item["status"]["addresses"]
        if entry["type"] == "InternalIP"
    }
    assert addresses == {"cp1": "10.77.34.11", "gpu1": "10.77.34.21"}


def test_the_drop_in_reaches_the_kubelet(cp1: Host, nodes: dict[str, Any]) -> None:
    for name in nodes:
        config = json.loads(cp1.check_output(f"{KUBECTL} get --raw /api/v1/nodes/{name}/proxy/configz"))
        assert config["kubeletconfig"]["serializeImagePulls"] is False
        assert config["kubeletconfig"]["evictionHard"]["memory.available"] == "100Mi"


def test_pods_get_addresses_of_their_nodes_network(node: Host, nodes: dict[str, Any]) -> None:
    name = node.check_output("cat /etc/hostname")
    conflist = json.loads(node.file("/etc/cni/net.d/10-containerd-net.conflist").content_string)
    assert conflist["plugins"][0]["ipam"]["ranges"] == [[{"subnet": nodes[name]["spec"]["podCIDR"]}]]


def test_cluster_dns_runs(cp1: Host) -> None:
    command = f"{KUBECTL} -n kube-system rollout status deployment/coredns --timeout=120s"
    assert "successfully rolled out" in cp1.check_output(command)


def test_no_secret_of_joining_is_left(node: Host) -> None:
    assert not node.file("/etc/kubernetes/llmprov-join.yaml").exists
    assert not node.file("/etc/kubernetes/llmprov-discovery.yaml").exists
    assert not node.file("/etc/kubernetes/bootstrap-kubelet.conf").exists


def test_every_stage_left_its_record(node: Host) -> None:
    stages = {"base", "runtime", "packages", "timesync", "kubernetes"}
    assert stages <= {path.removesuffix(".json") for path in node.file("/var/lib/llmprov/stages").listdir()}
