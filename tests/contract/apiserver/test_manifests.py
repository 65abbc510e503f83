"""A real API server takes what is rendered, without a warning, and Pod Security lets the pods in."""

import json

import pytest

from llmprov.cluster.apply import apply_set, ordered
from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import DEPLOYMENT
from llmprov.manifests.model import NAMESPACE, ModelInputs, QuotaInputs, model_objects, namespace_objects
from llmprov.manifests.network import NetworkInputs, network_objects
from llmprov.progress import NullProgress

DIGEST = "sha256:" + "0" * 64
MODEL = ModelInputs(
    name="m1",
    served_name="m1",
    engine_image=f"docker.io/vllm/vllm-openai@{DIGEST}",
    weights_image=f"llmprov.internal/models/m1@{DIGEST}",
    memory="8Gi",
    env={"A": "1"},
)
QUOTA = QuotaInputs(replicas=4, gpus=4, memory=32 << 30)


@pytest.mark.parametrize("backend", ["host-gw", "vxlan"])
def test_network(cluster: Cluster, backend: str) -> None:
    inputs = NetworkInputs.model_validate({"image": f"i@{DIGEST}", "pod_cidr": "10.244.0.0/16", "backend": backend})
    apply_set(cluster, "network", network_objects(inputs), NullProgress())
    assert apply_set(cluster, "network", network_objects(inputs), NullProgress()).changes == 0


def test_model_is_stable_and_its_pod_passes_the_restricted_profile(cluster: Cluster) -> None:
    objects = (*namespace_objects(QUOTA), *model_objects(MODEL))
    apply_set(cluster, "models", objects, NullProgress())
    assert apply_set(cluster, "models", objects, NullProgress()).changes == 0
    deployment = cluster.get(DEPLOYMENT, "m1", NAMESPACE)
    assert deployment is not None
    template = json.loads(json.dumps(deployment))["spec"]["template"]
    pod = {**template, "apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": "p1"}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    with cluster.open("POST", path, query={"dryRun": "All"}, body=pod) as response:
        assert json.loads(response.read())["kind"] == "Pod"


def test_objects_are_ordered_by_need() -> None:
    kinds = [item["kind"] for item in ordered([*reversed(model_objects(MODEL)), *namespace_objects(QUOTA)])]
    assert kinds == ["Namespace", "ResourceQuota", "ServiceAccount", "Service", "PodDisruptionBudget", "Deployment"]
