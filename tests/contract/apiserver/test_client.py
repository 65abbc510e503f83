import pytest

from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import Kind
from llmprov.errors import ClusterError

CONFIG = Kind("v1", "ConfigMap")


def config(namespace: str, name: str = "c", **data: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"t": "1"}},
        "data": data,
    }


def test_apply_get_list_delete(cluster: Cluster, namespace: str) -> None:
    assert cluster.get(CONFIG, "c", namespace) is None
    cluster.apply(config(namespace, a="1"))
    found = cluster.get(CONFIG, "c", namespace)
    assert found is not None
    assert found["data"] == {"a": "1"}
    assert [item["kind"] for item in cluster.list(CONFIG, namespace, selector="t=1").items] == ["ConfigMap"]
    cluster.delete(CONFIG, "c", namespace)
    cluster.delete(CONFIG, "c", namespace)
    assert cluster.get(CONFIG, "c", namespace) is None


def test_conflict_names_the_owner_and_can_be_forced(cluster: Cluster, namespace: str) -> None:
    cluster.apply(config(namespace, a="1"))
    path = f"/api/v1/namespaces/{namespace}/configmaps/c"
    other = {"fieldManager": "somebody"}
    with cluster.open("PUT", path, query=other, body=config(namespace, a="2")):
        pass
    with pytest.raises(ClusterError) as caught:
        cluster.apply(config(namespace, a="1"))
    assert "ConfigMap" in caught.value.message
    assert any("somebody" in line and ".data.a" in line for line in caught.value.details)
    assert "take-over" in caught.value.remedy
    cluster.apply(config(namespace, a="1"), force=True)
    found = cluster.get(CONFIG, "c", namespace)
    assert found is not None
    assert found["data"] == {"a": "1"}


def test_an_unknown_kind_is_an_error_and_not_served(cluster: Cluster) -> None:
    unknown = Kind("example.org/v1", "Nothing")
    assert not cluster.serves(unknown)
    assert cluster.serves(CONFIG)
    with pytest.raises(ClusterError, match="does not know"):
        cluster.list(unknown)


def test_an_invalid_object_names_the_field(cluster: Cluster, namespace: str) -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": namespace}}
    spec = {"ports": [{"port": 99999}]}
    with pytest.raises(ClusterError) as caught:
        cluster.apply({**wrong, "spec": spec})
    assert any("spec.ports[0].port" in line for line in caught.value.details)


def test_version(cluster: Cluster) -> None:
    assert cluster.version().startswith("v")


def test_merging_a_subresource(cluster: Cluster) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    cluster.apply(node)
    cluster.merge(Kind("v1", "Node"), "n1", {"status": {"capacity": {"nvidia.com/gpu": "2"}}}, subresource="status")
    found = cluster.get(Kind("v1", "Node"), "n1")
    assert found is not None
    assert "'nvidia.com/gpu': '2'" in str(found["status"])
