"""The gateway: TLS, API keys and routing by the model's name, by Envoy Gateway.

Objects of two owners: what every request passes is the gateway's, how requests reach one model is that model's.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated

from pydantic import Field, StringConstraints

from llmprov.manifests.render import Inputs, Manifest, render

NAMESPACE = "llmprov-gateway"
GATEWAY = "llmprov"
"""Name of the Gateway, its class and its policies."""
SERVICE = "llmprov-gateway"
"""Name of the data plane's Deployment, Service and PodDisruptionBudget."""
TLS_SECRET = "gateway-tls"  # noqa: S105 - a name
CA_SECRET = "gateway-ca"  # noqa: S105 - a name
KEYS_SECRET = "gateway-keys"  # noqa: S105 - a name
LISTENER_PORT = 443
MODEL_HEADER = "x-llmprov-model"
CLIENT_HEADER = "x-llmprov-client"
PROXY_LABELS = {
    "app.kubernetes.io/component": "proxy",
    "gateway.envoyproxy.io/owning-gateway-name": GATEWAY,
    "gateway.envoyproxy.io/owning-gateway-namespace": NAMESPACE,
}
ROUTABLE = r"^[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,254}$"
"""What a model may be called by clients: what the routing script lets through."""
PATHS = (
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"),
    *("/v1/rerank", "/v1/score", "/tokenize"),
)
"""What reaches an engine. The rest of it (metrics, adapters, caches) is for those who run it."""

type KeyModels = Mapping[str, tuple[str, ...] | None]
"""Under which names each API key may ask for models; None: under all."""

_GPU_LABEL = "llmprov.io/gpu-mode"
_IDLE_SECONDS = 1800
_RETRY_SECONDS = 5
_MODELS_ROUTE = "models"


class GatewayInputs(Inputs):
    """What the gateway depends on; images are references by digest."""

    proxy_image: str
    node_port: int
    replicas: int
    workers: int
    drain_seconds: int
    max_body: str
    """Kubernetes quantity, such as `8Mi`."""
    proxy_memory: str
    route_namespaces: tuple[str, ...]


class RouteInputs(Inputs):
    """How requests reach one model."""

    name: str
    """Of the model, its Service and what is made here."""
    served_name: Annotated[str, StringConstraints(pattern=ROUTABLE)]
    namespace: str
    port: int
    max_requests: Annotated[int, Field(ge=1)] = 1024
    """At a time through one gateway pod; what is above is answered with 503 and Retry-After."""


class _Error(Inputs):
    statuses: tuple[int, ...]
    body: str
    retry_after: int = 0


class _Refusal(Inputs):
    name: str
    body: str


class _GatewayTemplate(GatewayInputs):
    namespace: str = NAMESPACE
    gateway: str = GATEWAY
    service: str = SERVICE
    tls_secret: str = TLS_SECRET
    keys_secret: str = KEYS_SECRET
    listener_port: int = LISTENER_PORT
    model_header: str = MODEL_HEADER
    client_header: str = CLIENT_HEADER
    gpu_label: str = _GPU_LABEL
    idle_seconds: int = _IDLE_SECONDS
    lua: str
    context: Mapping[str, object]
    errors: tuple[_Error, ...]
    refusals: tuple[_Refusal, ...]
    paths: tuple[str, ...] = PATHS


class _RouteTemplate(Inputs):
    route: RouteInputs
    gateway: str = GATEWAY
    gateway_namespace: str = NAMESPACE
    model_header: str = MODEL_HEADER
    paths: tuple[str, ...] = PATHS
    model_paths: tuple[str, ...]
    description: str


class _ModelsTemplate(Inputs):
    name: str = _MODELS_ROUTE
    namespace: str
    gateway: str = GATEWAY
    gateway_namespace: str = NAMESPACE
    listing: str


class _NamespaceInputs(Inputs):
    namespace: str = NAMESPACE


def namespace_objects() -> tuple[Manifest, ...]:
    """Return the gateway's namespace."""
    return render("gateway-namespace.yaml.j2", _NamespaceInputs())


def gateway_objects(inputs: GatewayInputs, keys: KeyModels) -> tuple[Manifest, ...]:
    """Return what every request passes: the Gateway, its data plane and its policies, without Secrets.

    Args:
        inputs: what they depend on.
        keys: every API key, and what it may use; any other key may use nothing.
    """
    return render(
        "gateway.yaml.j2",
        _GatewayTemplate(
            **dict(inputs),
            lua=routing_script(),
            context=routing_context(keys),
            errors=_local_errors(),
            refusals=_refusals(),
        ),
    )


def model_route(inputs: RouteInputs) -> tuple[Manifest, ...]:
    """Return what makes one model reachable by its name; it lives in the model's namespace, beside its Service."""
    name = inputs.served_name
    # Clients write a slash in a path's segment either way.
    spellings = dict.fromkeys((name, name.replace("/", "%2F")))
    return render(
        "gateway-route.yaml.j2",
        _RouteTemplate(
            route=inputs,
            model_paths=tuple(f"/v1/models/{spelling}" for spelling in spellings),
            description=_text(_description(name)),
        ),
    )


def models_list(names: Sequence[str], namespace: str) -> tuple[Manifest, ...]:
    """Return the answer to GET /v1/models.

    Args:
        names: under which the models are served.
        namespace: of the models.
    """
    listing = {"object": "list", "data": [_description(name) for name in names]}
    return render("gateway-models.yaml.j2", _ModelsTemplate(namespace=namespace, listing=_text(listing)))


def routing_script() -> str:
    """Return the Lua that reads the model's name out of a request."""
    return files("llmprov.manifests").joinpath("templates/gateway.lua").read_text(encoding="utf-8")


def routing_context(keys: KeyModels) -> dict[str, object]:
    """Return what the routing script is told of the API keys."""
    return {"keys": {name: True if models is None else list(models) for name, models in sorted(keys.items())}}


def _description(name: str) -> dict[str, object]:
    # Nobody asks a model's age; the field is only there because OpenAI's clients want one.
    return {"id": name, "object": "model", "created": 0, "owned_by": "llmprov"}


def _refusals() -> tuple[_Refusal, ...]:
    """What is answered where no model's route fits; names are those in the template."""
    # Envoy puts the header's value in: a model's name, which the script has checked.
    named = f"The model `%REQ({MODEL_HEADER})%` does not exist. GET /v1/models lists those that do."
    unnamed = "There is no such model. GET /v1/models lists those that there are."
    return (
        _Refusal(name="model-not-found", body=_error(named, "model_not_found", "model")),
        _Refusal(name="no-such-model", body=_error(unnamed, "model_not_found", "model")),
        _Refusal(name="unknown-url", body=_error("Unknown request URL.", "unknown_url")),
    )


def _local_errors() -> tuple[_Error, ...]:
    """What Envoy itself answers, in the shape that OpenAI's clients read."""
    key = "No API key, or one that is not valid. Send it as `Authorization: Bearer KEY`."
    busy = "The model cannot take the request now: all of its replicas are busy, starting or gone. Try again."
    return (
        _Error(statuses=(401,), body=_error(key, "invalid_api_key")),
        _Error(statuses=(413,), body=_error("The body of the request is too long.", "request_too_large")),
        _Error(statuses=(408,), body=_error("The request took too long to arrive.", "request_timeout")),
        _Error(
            statuses=(503,),
            body=_error(busy, "service_unavailable", kind="server_error"),
            retry_after=_RETRY_SECONDS,
        ),
        _Error(statuses=(500, 502, 504), body=_error("The gateway failed.", "gateway_error", kind="server_error")),
    )


def _error(message: str, code: str, param: str | None = None, kind: str = "invalid_request_error") -> str:
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def _text(document: object) -> str:
    # Envoy reads `%` in these texts as the start of an operator.
    return json.dumps(document).replace("%", "%%")
