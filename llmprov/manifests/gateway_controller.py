"""Envoy Gateway's own objects: its release file, made to fit this cluster."""

import hashlib
import json
from collections.abc import Iterable

from llmprov.manifests import addon
from llmprov.manifests.gateway import NAMESPACE
from llmprov.manifests.podspec import change_containers
from llmprov.manifests.render import Manifest
from llmprov.manifests.tree import child, listed

CONTROLLER = "envoy-gateway"
CONTROLLER_LABELS = {"control-plane": CONTROLLER}
_CERTGEN = "eg-gateway-helm-certgen"
_RELEASE_NAMESPACE = "envoy-gateway-system"
_DOMAIN = "KUBERNETES_CLUSTER_DOMAIN"
_PATIENCE: Manifest = {"timeoutSeconds": 5, "failureThreshold": 6}


def controller_objects(release: Iterable[Manifest], image: str, dns_domain: str) -> tuple[Manifest, ...]:
    """Return the controller's objects.

    Args:
        release: what the release file holds.
        image: reference by digest.
        dns_domain: of the cluster's services.
    """
    objects = addon.without_crds(release, "gateway.networking.k8s.io", "gateway.networking.x-k8s.io")
    # With the Gateway API's definitions comes a policy that guards them; both are another set's.
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        objects = addon.without(objects, kind)
    # It would tell proxies their zone, which racks do not have.
    objects = addon.without(objects, "MutatingWebhookConfiguration")
    objects = addon.with_arguments(objects, "envoy-gateway-certgen", "--disable-topology-injector")
    objects = addon.in_namespace(objects, NAMESPACE, was=_RELEASE_NAMESPACE)
    objects = addon.with_images(objects, {"docker.io/envoyproxy/gateway": image})
    # The Job stays, so that the next install sees that its work is done.
    objects = addon.patched(objects, "Job", _CERTGEN, {"spec": {"ttlSecondsAfterFinished": None}})
    configuration = json.dumps(_configuration(image), indent=2)
    objects = addon.patched(
        objects, "ConfigMap", "envoy-gateway-config", {"data": {"envoy-gateway.yaml": configuration}}
    )
    digest = hashlib.sha256(configuration.encode()).hexdigest()[:16]
    # An empty list is nothing that the API keeps: with it, the Deployment would never be what was applied.
    template = {"metadata": {"annotations": {"llmprov.io/config": digest}}, "spec": {"imagePullSecrets": None}}
    objects = addon.patched(objects, "Deployment", CONTROLLER, {"spec": {"template": template}})
    objects = addon.with_resources(
        objects, CONTROLLER, requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "512Mi"}
    )
    return tuple(change_containers(item, lambda box: _fitted(box, dns_domain)) for item in addon.placed(objects))


def _configuration(image: str) -> Manifest:
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        "provider": {
            "type": "Kubernetes",
            "kubernetes": {
                "shutdownManager": {"image": image},
                "proxyTopologyInjector": {"disabled": True},
            },
        },
        "logging": {"level": {"default": "info"}},
        "extensionApis": {"enableLua": True},
    }


def _fitted(box: Manifest, domain: str) -> Manifest:
    env = [{**item, "value": domain} if item.get("name") == _DOMAIN else item for item in listed(box.get("env"))]
    # A second, thrice, is too little where a node is busy starting an engine.
    probes: Manifest = {
        key: {**child(box, key), **_PATIENCE} for key in ("livenessProbe", "readinessProbe") if key in box
    }
    return {**box, "env": env, **probes}
