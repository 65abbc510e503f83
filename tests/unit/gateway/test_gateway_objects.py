"""The gateway's objects: reviewed as files in tests/golden, and what must hold of them whatever is in them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from llmprov.errors import BundleError
from llmprov.manifests.addon import load
from llmprov.manifests.gateway import (
    PATHS,
    GatewayInputs,
    RouteInputs,
    gateway_objects,
    model_route,
    models_list,
    namespace_objects,
)
from llmprov.manifests.gateway_controller import controller_objects
from llmprov.manifests.podspec import containers
from llmprov.manifests.render import Manifest, dump

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
DIGEST = "sha256:" + "0" * 64
IMAGE = f"docker.io/envoyproxy/gateway@{DIGEST}"
INPUTS = GatewayInputs(
    proxy_image=f"docker.io/envoyproxy/envoy@{DIGEST}",
    node_port=30443,
    replicas=2,
    workers=4,
    drain_seconds=600,
    max_body="8Mi",
    proxy_memory="512Mi",
    route_namespaces=("llmprov-gateway", "llmprov-models"),
)
KEYS = {"team-a": ("smollm2",), "default": None}
SLASHED = RouteInputs(
    name="llama-70b", served_name="meta-llama/Llama-3.3-70B-Instruct", namespace="llmprov-models", port=8000
)
CASES: dict[str, Sequence[Manifest]] = {
    "gateway": [*namespace_objects(), *gateway_objects(INPUTS, KEYS)],
    "gateway-route": [*model_route(SLASHED), *models_list(["smollm2", SLASHED.served_name], "llmprov-models")],
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    path = GOLDEN / f"{name}.yaml"
    text = dump(CASES[name])
    if os.environ.get("LLMPROV_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), "review the difference, then run with LLMPROV_UPDATE_GOLDEN=1"


def of(objects: Sequence[Manifest], kind: str, name: str = "") -> dict[str, object]:
    [found] = [
        item
        for item in objects
        if item["kind"] == kind and (not name or item["metadata"]["name"] == name)  # type: ignore[index]
    ]
    spec = found["spec"]
    assert isinstance(spec, dict)
    return spec


def test_every_error_has_openais_shape_and_503_says_when_to_come_back() -> None:
    overrides = of(gateway_objects(INPUTS, KEYS), "BackendTrafficPolicy")["responseOverride"]
    assert isinstance(overrides, list)
    seen: dict[int, dict[str, object]] = {}
    for override in overrides:
        assert override["source"] == "Local", "what an engine says of itself is passed on"
        error = json.loads(override["response"]["body"]["inline"])["error"]
        assert set(error) == {"message", "type", "param", "code"}
        seen |= {code["value"]: override["response"] for code in override["match"]["statusCodes"]}
    assert {401, 413, 503, 504} <= set(seen)
    assert not {400, 403, 404} & set(seen), "the script says itself what these mean"
    assert seen[503]["header"] == {"set": [{"name": "Retry-After", "value": "5"}]}
    assert "header" not in seen[401]


def test_the_script_is_told_what_each_key_may_use() -> None:
    scripts = of(gateway_objects(INPUTS, KEYS), "EnvoyExtensionPolicy")["lua"]
    assert isinstance(scripts, list)
    assert [script["filterContext"] for script in scripts] == [{"keys": {"default": True, "team-a": ["smollm2"]}}]


def test_a_model_is_reached_by_the_header_alone_and_only_where_clients_may() -> None:
    rules = of(model_route(SLASHED), "HTTPRoute")["rules"]
    assert isinstance(rules, list)
    answers, described = rules
    paths = [match["path"]["value"] for match in answers["matches"]]
    assert tuple(paths) == PATHS
    assert not {"/metrics", "/health", "/v1/load_lora_adapter"} & set(paths)
    assert {match["headers"][0]["value"] for match in answers["matches"]} == {SLASHED.served_name}
    assert [match["path"]["value"] for match in described["matches"]] == [
        "/v1/models/meta-llama/Llama-3.3-70B-Instruct",
        "/v1/models/meta-llama%2FLlama-3.3-70B-Instruct",
    ]


@pytest.mark.parametrize("name", ["", "a b", "a\r\nb", 'a"b', "-a", "é", "a" * 256])
def test_a_name_that_the_script_would_not_route_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        RouteInputs(name="m", served_name=name, namespace="n", port=1)


def test_percent_signs_are_not_operators() -> None:
    filters = [item for item in models_list(["a"], "n") if item["kind"] == "HTTPRouteFilter"]
    body = filters[0]["spec"]["directResponse"]["body"]["inline"]  # type: ignore[index]
    assert json.loads(body)["data"][0]["id"] == "a"


RELEASE = """
apiVersion: v1
kind: Namespace
metadata: {name: envoy-gateway-system}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gateways.gateway.networking.k8s.io}
spec: {group: gateway.networking.k8s.io}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: envoyproxies.gateway.envoyproxy.io}
spec: {group: gateway.envoyproxy.io}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: safe-upgrades}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: safe-upgrades}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: topology-injector}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: envoy-gateway-config, namespace: envoy-gateway-system}
data: {envoy-gateway.yaml: ""}
---
apiVersion: batch/v1
kind: Job
metadata: {name: eg-gateway-helm-certgen, namespace: envoy-gateway-system}
spec:
  ttlSecondsAfterFinished: 30
  template:
    spec:
      containers:
        - name: envoy-gateway-certgen
          image: docker.io/envoyproxy/gateway:v1.9.1
          env: [{name: KUBERNETES_CLUSTER_DOMAIN, value: cluster.local}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: envoy-gateway, namespace: envoy-gateway-system}
spec:
  template:
    spec:
      containers:
        - name: envoy-gateway
          image: docker.io/envoyproxy/gateway:v1.9.1
          env: [{name: KUBERNETES_CLUSTER_DOMAIN, value: cluster.local}, {name: OTHER, value: x}]
"""


def test_the_release_is_made_to_fit(tmp_path: Path) -> None:
    (tmp_path / "install.yaml").write_text(RELEASE)
    objects = controller_objects(load(tmp_path / "install.yaml"), IMAGE, "rack.example")
    assert [item["kind"] for item in objects] == ["CustomResourceDefinition", "ConfigMap", "Job", "Deployment"]
    assert {item["metadata"].get("namespace", "") for item in objects} == {"", "llmprov-gateway"}  # type: ignore[attr-defined]
    boxes = containers(objects)
    assert {box["image"] for box in boxes} == {IMAGE}
    assert all({"name": "KUBERNETES_CLUSTER_DOMAIN", "value": "rack.example"} in box["env"] for box in boxes)  # type: ignore[operator]
    assert "ttlSecondsAfterFinished" not in of(objects, "Job")
    [settings] = [item["data"] for item in objects if item["kind"] == "ConfigMap"]
    configuration = json.loads(settings["envoy-gateway.yaml"])  # type: ignore[index]
    assert configuration["extensionApis"] == {"enableLua": True}
    assert configuration["provider"]["kubernetes"]["shutdownManager"] == {"image": IMAGE}


def test_another_release_is_refused(tmp_path: Path) -> None:
    (tmp_path / "install.yaml").write_text(RELEASE.replace("eg-gateway-helm-certgen", "renamed"))
    with pytest.raises(BundleError, match="certgen"):
        controller_objects(load(tmp_path / "install.yaml"), IMAGE, "cluster.local")
