"""A real API server takes everything that watches, and would let all of it but node-exporter run restricted."""

from typing import Any

import pytest

from llmprov.cluster.apply import apply_set
from llmprov.cluster.client import Cluster
from llmprov.manifests.render import Manifest
from llmprov.progress import NullProgress
from tests.unit.manifests.test_monitoring import CASES

NODE_EXPORTER = "monitoring-node-exporter"


def objects() -> tuple[Manifest, ...]:
    # metrics-server also needs a namespace that only a whole control plane makes.
    names = [name for name in CASES if name != "monitoring-metrics-server"]
    return tuple(item for name in names for item in CASES[name])


def test_it_is_accepted_and_stable(cluster: Cluster) -> None:
    apply_set(cluster, "monitoring", objects(), NullProgress())
    assert apply_set(cluster, "monitoring", objects(), NullProgress()).changes == 0


@pytest.mark.parametrize("name", [name for name in CASES if name != NODE_EXPORTER])
def test_pods_pass_the_restricted_profile(name: str, cluster: Cluster) -> None:
    namespace = "t-restricted"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    assert pod_is_admitted(cluster, namespace, name)


def test_node_exporter_is_why_the_namespace_is_privileged(cluster: Cluster) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": "t-restricted", "labels": labels}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    assert not pod_is_admitted(cluster, "t-restricted", NODE_EXPORTER)


def pod_is_admitted(cluster: Cluster, namespace: str, name: str) -> bool:
    workload: Any = next(item for item in CASES[name] if item["kind"] in {"Deployment", "DaemonSet"})
    template = workload["spec"]["template"]
    # The account of the pod is not in this namespace, and its priority class is the system's.
    left_out = ("serviceAccountName", "priorityClassName")
    spec = {key: value for key, value in template["spec"].items() if key not in left_out}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    with cluster.exchange("POST", path, body=pod) as response:
        body = response.read()
        assert response.status in {201, 403}, body
        return response.status == 201
