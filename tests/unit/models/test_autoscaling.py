"""The autoscaling station and the proof that it sees something, on an API in memory."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.cluster.client import Cluster
from llmprov.cluster.pods import ReplicaTiming
from llmprov.cluster.prometheus import instant
from llmprov.errors import ClusterError, ModelError
from llmprov.inventory import Inventory, ModelSpec
from llmprov.manifests.autoscaling import ADAPTER, OPERATOR
from llmprov.manifests.model import NAMESPACE
from llmprov.progress import NullProgress
from llmprov.workflows import autoscaling, models
from tests.unit.cluster.fakeapi import EXTERNAL_METRICS, FakeApi
from tests.unit.models.conftest import MODEL
from tests.unit.models.test_serving import finish, put_node

SCALED = {**MODEL, "replicas": {"min": 1, "max": 3}, "autoscaling": {"cooldown_seconds": 60}}
SPEC = ModelSpec.model_validate(SCALED)
KEDA = "llmprov-autoscaling"
METRIC = "s0-prometheus"
DEPLOYED = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoscaling, "_DATA_SECONDS", 0.1)
    monkeypatch.setattr(autoscaling, "_PAUSE", 0.01)


def answer(*values: float) -> Callable[[dict[str, Any]], tuple[int, list[bytes]]]:
    result = [{"metric": {}, "value": [1.0, str(value)]} for value in values]
    body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
    return lambda _: (200, [body])


def put_scaled_object(api: FakeApi, **conditions: str) -> None:
    listed = [{"type": name, "status": status, "message": f"{name} is {status}"} for name, status in conditions.items()]
    meta = {"name": "m", "namespace": NAMESPACE}
    status = {"conditions": listed, "externalMetricNames": [METRIC]}
    api.put({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": meta, "status": status})


def hand_out(api: FakeApi, value: str) -> None:
    """Let KEDA's adapter know a value."""
    item = {"metadata": {"labels": {"scaledobject.keda.sh/name": "m"}}, "metricName": METRIC, "value": value}
    api.objects[f"{EXTERNAL_METRICS}/{METRIC}", NAMESPACE, "m"] = item


def test_values_of_a_query(cluster: Cluster, api: FakeApi) -> None:
    api.proxied = answer(3, 1.5)
    assert instant(cluster, 'sum(x{a="b"})') == (3, 1.5)
    assert any("query?query=sum%28x%7Ba%3D%22b%22%7D%29" in line for line in api.requests)
    api.proxied = None
    with pytest.raises(ClusterError, match="Prometheus does not answer"):
        instant(cluster, "x")


def test_an_autoscaler_that_works(cluster: Cluster, api: FakeApi) -> None:
    api.proxied = answer(0)
    put_scaled_object(api, Ready="True", Fallback="False")
    hand_out(api, "0")
    autoscaling.wait_models(cluster, [SPEC], {}, NullProgress())


def test_keda_is_asked_as_kubernetes_will(cluster: Cluster, api: FakeApi) -> None:
    api.proxied = answer(0)
    put_scaled_object(api, Ready="True", Fallback="False")
    with pytest.raises(ClusterError, match="autoscalers of m do not work") as caught:
        autoscaling.wait_models(cluster, [SPEC], {}, NullProgress())
    assert caught.value.details == (f"m: {METRIC}: no values",)


def test_a_model_without_metrics_says_what_keda_says(cluster: Cluster, api: FakeApi) -> None:
    api.proxied = answer(0)
    with pytest.raises(ClusterError) as caught:
        autoscaling.wait_models(cluster, [SPEC], {}, NullProgress())
    assert caught.value.details == ("m: it is not there",)
    put_scaled_object(api, Ready="False")
    api.objects["keda.sh/v1alpha1/scaledobjects", NAMESPACE, "m"]["status"].pop("externalMetricNames")
    with pytest.raises(ClusterError) as caught:
        autoscaling.wait_models(cluster, [SPEC], {}, NullProgress())
    assert caught.value.details == ("m: Ready is False",)


def test_no_data_is_an_error_that_names_the_query(cluster: Cluster, api: FakeApi) -> None:
    api.proxied = answer()
    with pytest.raises(ClusterError, match="autoscaling is blind") as caught:
        autoscaling.wait_models(cluster, [SPEC], {}, NullProgress())
    assert caught.value.details[0].startswith("m: no data for sum(vllm:num_requests_running")
    api.proxied = None
    with pytest.raises(ClusterError) as caught:
        autoscaling.wait_models(cluster, [SPEC], {}, NullProgress())
    assert "Prometheus does not answer" in caught.value.details[0]


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({}, "KEDA has not looked at it yet"),
        ({"Ready": "False"}, "Ready is False"),
        ({"Ready": "True", "Fallback": "True"}, "Ready is True"),
    ],
)
def test_an_autoscaler_that_does_not_work(
    cluster: Cluster, api: FakeApi, conditions: dict[str, str], words: str
) -> None:
    api.proxied = answer(0)
    put_scaled_object(api, **conditions)
    hand_out(api, "0")
    with pytest.raises(ClusterError, match="autoscalers of m do not work") as caught:
        autoscaling.wait_models(cluster, [SPEC], {}, NullProgress())
    assert caught.value.details == (f"m: {words}",)


def test_models_of_a_fixed_number_are_left_alone(cluster: Cluster) -> None:
    autoscaling.wait_models(cluster, [ModelSpec.model_validate(MODEL)], {}, NullProgress())


def test_a_cool_down_is_longer_than_a_load() -> None:
    took = ReplicaTiming("m-1", "gpu1", 0, 59.0)
    loads = {"m": (took, replace(took, engine_start_seconds=None))}
    autoscaling.check_cooldowns([SPEC], loads)
    autoscaling.check_cooldowns([SPEC], {})
    with pytest.raises(ModelError, match="sooner than they can be loaded again") as caught:
        autoscaling.check_cooldowns([SPEC], {"m": (replace(took, engine_start_seconds=60.0),)})
    assert caught.value.details == ("m: cool-down 60 s, a replica took 60 s to load",)


def test_keda_runs_and_serves_metrics(cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory]) -> None:
    for name in (OPERATOR, ADAPTER):
        meta = {"name": name, "namespace": KEDA}
        item = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 1}}
        api.put({**item, "status": DEPLOYED})
    service = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
    service["metadata"] = {"name": "v1beta1.external.metrics.k8s.io"}  # type: ignore[assignment]
    refused = {"type": "Available", "status": "False", "message": "no endpoints"}
    with pytest.raises(ClusterError, match="is not available"):
        autoscaling.wait(cluster, make_inventory(), NullProgress())
    api.put({**service, "status": {"conditions": [refused]}})
    with pytest.raises(ClusterError) as caught:
        autoscaling.wait(cluster, make_inventory(), NullProgress())
    assert caught.value.details == ("no endpoints",)
    api.put({**service, "status": {"conditions": [{"type": "Available", "status": "True"}]}})
    autoscaling.wait(cluster, make_inventory(), NullProgress())


def test_keda_is_applied_once(
    cluster: Cluster, make_inventory: Callable[..., Inventory], lock: BundleLock, tmp_path: Path
) -> None:
    def part(name: str, image: str) -> dict[str, object]:
        pod = {"containers": [{"name": name, "image": f"ghcr.io/kedacore/{image}:v", "args": []}]}
        meta = {"name": name, "namespace": "keda"}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"template": {"spec": pod}}}

    parts = [part("keda-operator", "keda"), part("keda-metrics-apiserver", "keda-metrics-apiserver")]
    blobs = tmp_path / "bundle" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / ("a" * 64)).write_text(yaml.safe_dump_all(parts))
    common = {"version": "1", "source": "s", "size": 1, "licence": "Apache-2.0"}
    release = LockedArtifact.model_validate({"kind": "file", "name": "keda-manifests", "sha256": "a" * 64, **common})
    images = [
        LockedArtifact.model_validate(
            {
                "kind": "image",
                "name": name,
                "sha256": name[5].encode().hex() * 32,
                "ref": f"ghcr.io/x/{name}:1",
                **common,
            }
        )
        for name in autoscaling.IMAGES
    ]
    whole = BundleLock.of("test", [*lock.artifacts, release, *images])
    applied = autoscaling.apply(cluster, make_inventory(), whole, NullProgress())
    assert f"Deployment {KEDA}/keda-operator" in applied.created
    assert autoscaling.apply(cluster, make_inventory(), whole, NullProgress()).changes == 0
    assert autoscaling.images(make_inventory(), whole) == autoscaling.IMAGES


def test_an_autoscaled_model_has_a_scaled_object_and_no_number(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], lock: BundleLock
) -> None:
    put_node(api, "gpu1", gpus=2)
    inventory = make_inventory(SCALED)
    models.deploy(cluster, inventory, lock, NullProgress())
    assert "replicas" not in api.objects["apps/v1/deployments", NAMESPACE, "m"]["spec"]
    scaler = api.objects["keda.sh/v1alpha1/scaledobjects", NAMESPACE, "m"]["spec"]
    assert (scaler["minReplicaCount"], scaler["maxReplicaCount"]) == (1, 3)
    assert models.deploy(cluster, inventory, lock, NullProgress()).changes == 0
    finish(api, "Deployment", NAMESPACE, "m", DEPLOYED)
    ready = models.wait_ready(cluster, inventory, NullProgress())
    with pytest.raises(ClusterError, match="autoscaling is blind"):
        models.wait_scaled(cluster, inventory, ready, NullProgress())


def test_a_fixed_number_again_removes_the_autoscaler_first(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], lock: BundleLock
) -> None:
    put_node(api, "gpu1", gpus=4)
    models.deploy(cluster, make_inventory(SCALED), lock, NullProgress())
    deployed = models.deploy(cluster, make_inventory({**MODEL, "replicas": 2}), lock, NullProgress())
    assert api.objects["apps/v1/deployments", NAMESPACE, "m"]["spec"]["replicas"] == 2
    assert ("keda.sh/v1alpha1/scaledobjects", NAMESPACE, "m") not in api.objects
    assert deployed.choices[0].move == "keep"
