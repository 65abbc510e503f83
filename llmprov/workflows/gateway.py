"""The gateway station: Envoy Gateway, the Gateway itself, its certificate and keys; and proof that it answers."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from threading import Event

import urllib3

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import Applied
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import DEPLOYMENT, Header
from llmprov.cluster.rollout import Workload, wait_rolled_out
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError
from llmprov.inventory import Inventory
from llmprov.manifests import gateway as manifests
from llmprov.manifests import model as models
from llmprov.manifests.gateway_controller import CONTROLLER, CONTROLLER_LABELS, controller_objects
from llmprov.progress import Progress, Step
from llmprov.workflows.gateway_access import base_url
from llmprov.workflows.gateway_access import present as present  # noqa: PLC0414 - part of this module's interface
from llmprov.workflows.gateway_client import GatewayClient, open_gateway
from llmprov.workflows.gateway_keys import ensure_first_key
from llmprov.workflows.gateway_limits import key_models
from llmprov.workflows.gateway_secrets import keys_secret, tls_secrets
from llmprov.workflows.object_sets import ObjectSet, apply_sets
from llmprov.workflows.references import manifests_of, pinned

DEFINITIONS_SET = "gateway-definitions"
GATEWAY_SET = "gateway"
IMAGES = ("envoy-gateway", "envoy")
_PROXY_MEMORY = "512Mi"
_SECONDS = 300.0
_ANSWER_SECONDS = 120.0
_PAUSE = 0.5
# No model is called like this, so the answer is the gateway's own, whichever models are there.
_NO_MODEL = "llmprov.no-such-model"
_LIMITED = "model_not_allowed"


def images(inventory: Inventory, lock: BundleLock) -> tuple[str, ...]:  # noqa: ARG001 - the shape of a station
    """Return the names of the bundle's images that the gateway's pods name."""
    return IMAGES


def sets(cluster: Cluster, inventory: Inventory, lock: BundleLock) -> tuple[ObjectSet, ...]:
    """Return what the station applies; a certificate that is due is made, but only applying it keeps it.

    Raises:
        BundleError: the bundle lacks something, or its release of Envoy Gateway is not the expected one.
        InventoryError: the operator's certificate is not usable.
    """
    release = manifests_of(inventory, lock, "envoy-gateway-manifests")
    image = pinned(lock.image("envoy-gateway"))
    objects: tuple[Object, ...] = (
        *manifests.namespace_objects(),
        *controller_objects(release, image, inventory.settings.dns_domain),
        *tls_secrets(cluster, inventory),
        keys_secret(),
        *manifests.gateway_objects(inputs(inventory, lock), key_models(cluster)),
    )
    definitions = manifests_of(inventory, lock, "gateway-api-crds")
    return ObjectSet(DEFINITIONS_SET, definitions), ObjectSet(GATEWAY_SET, objects)


def apply(
    cluster: Cluster, inventory: Inventory, lock: BundleLock, progress: Progress, *, live: LiveObjects | None = None
) -> Applied:
    """Apply the gateway; the first time with an API key `default`.

    Raises:
        ClusterError: the API refuses an object.
        BundleError: the bundle lacks something, or its release of Envoy Gateway is not the expected one.
        InventoryError: the operator's certificate is not usable.
    """
    applied = apply_sets(cluster, sets(cluster, inventory, lock), progress, live=live)
    ensure_first_key(cluster)
    return applied


def inputs(inventory: Inventory, lock: BundleLock) -> manifests.GatewayInputs:
    """Turn an inventory into the inputs of the gateway's objects."""
    settings = inventory.settings
    return manifests.GatewayInputs(
        proxy_image=pinned(lock.image("envoy")),
        node_port=settings.gateway_port,
        replicas=settings.gateway_replicas,
        workers=settings.gateway_workers,
        drain_seconds=settings.gateway_drain_seconds,
        max_body=settings.gateway_max_body,
        proxy_memory=_PROXY_MEMORY,
        route_namespaces=(manifests.NAMESPACE, models.NAMESPACE),
    )


def wait(cluster: Cluster, inventory: Inventory, progress: Progress) -> None:
    """Wait until the gateway answers requests as it should: TLS verified, the key checked, the body read.

    Raises:
        ClusterError: a pod cannot start, or the answer is not the right one in time (with what was seen last).
        HostConnectionError: no host can be logged into.
    """
    controller = Workload(
        DEPLOYMENT, manifests.NAMESPACE, CONTROLLER, CONTROLLER_LABELS, _SECONDS, title="gateway controller"
    )
    wait_rolled_out(cluster, manifests.NAMESPACE, [controller], progress)
    _wait_deployed(cluster)
    proxies = Workload(
        DEPLOYMENT, manifests.NAMESPACE, manifests.SERVICE, manifests.PROXY_LABELS, _SECONDS, title="gateway"
    )
    wait_rolled_out(cluster, manifests.NAMESPACE, [proxies], progress)
    with progress.step("gateway answers", base_url(inventory)) as step, open_gateway(cluster, inventory) as client:
        _until(step, lambda: _own_answers(client))


def wait_models(cluster: Cluster, inventory: Inventory, progress: Progress) -> None:
    """Wait until every ready model of the inventory answers through the gateway by its name.

    Raises:
        ClusterError: one does not (with what it answered).
    """
    names = [model.public_name for model in inventory.models if model.replicas.min]
    with (
        progress.step("models behind the gateway", ", ".join(names)) as step,
        open_gateway(cluster, inventory) as client,
    ):
        _until(step, lambda: _model_answers(client, names))


def _wait_deployed(cluster: Cluster) -> None:
    """Wait until the controller has made the proxies' Deployment."""

    def decide(items: Sequence[Object]) -> bool | None:
        return True if any(Header.model_validate(i).metadata.name == manifests.SERVICE for i in items) else None

    if watch_until(cluster, Selection(DEPLOYMENT, manifests.NAMESPACE), decide, seconds=_SECONDS) is None:
        raise ClusterError(
            "the gateway's controller does not start any proxies",
            remedy=f"see the conditions of Gateway {manifests.NAMESPACE}/{manifests.GATEWAY} and the controller's log",
        )


def _until(step: Step, check: Callable[[], str]) -> None:
    """Check until nothing is wrong any more."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while wrong := check():
        if time.monotonic() > deadline:
            raise ClusterError(
                f"the gateway does not answer as it should after {_ANSWER_SECONDS:.0f} s: {wrong}",
                remedy=f"see the pods and policies of namespace {manifests.NAMESPACE}, and the controller's log",
            )
        step.update(wrong)
        Event().wait(_PAUSE)


def _own_answers(client: GatewayClient) -> str:
    body = {"model": _NO_MODEL, "messages": []}
    if wrong := _differs(client, body, key="", status=401, code="invalid_api_key"):
        return wrong
    wrong = _differs(client, body, key=None, status=404, code="model_not_found", naming=_NO_MODEL)
    # Where there is no key that may use every model.
    limited = wrong and not _differs(client, body, key=None, status=403, code=_LIMITED)
    return "" if limited else wrong


def _differs(
    client: GatewayClient, body: Mapping[str, object], *, key: str | None, status: int, code: str, naming: str = ""
) -> str:
    """Send a request and say how its answer differs from the expected error; empty when it does not."""
    try:
        with client.exchange("POST", "/v1/chat/completions", body=body, key=key) as response:
            seen, text = response.status, response.read().decode(errors="replace")
    except urllib3.exceptions.HTTPError as error:
        return str(error)
    return (
        "" if seen == status and f'"{code}"' in text and naming in text else f"{seen} instead of {status}: {text[:200]}"
    )


def _model_answers(client: GatewayClient, names: Sequence[str]) -> str:
    """Say which model does not answer; empty when all do."""
    for name in names:
        body = {"model": name, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1}
        try:
            with client.exchange("POST", "/v1/chat/completions", body=body) as response:
                seen, text = response.status, response.read().decode(errors="replace")
        except urllib3.exceptions.HTTPError as error:
            return f"{name}: {error}"
        if seen == HTTPStatus.FORBIDDEN and f'"{_LIMITED}"' in text:
            continue  # all keys are limited, and this one to other models
        if seen != HTTPStatus.OK:
            return f"{name}: {seen}: {text[:200]}"
        if not json.loads(text).get("choices"):
            return f"{name}: an answer without choices: {text[:200]}"
    return ""
