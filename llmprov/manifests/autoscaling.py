"""How many replicas of a model serve: a KEDA ScaledObject on the engine's own metrics, as Prometheus has them."""

from llmprov.manifests import addon
from llmprov.manifests.render import Inputs, Manifest, render

NAMESPACE = "llmprov-autoscaling"
PROMETHEUS = "http://prometheus.llmprov-monitoring.svc:9090"
"""The monitoring stage's Service, as seen by the autoscaler."""

OPERATOR = "keda-operator"
ADAPTER = "keda-metrics-apiserver"
"""Deployments, containers and label `app` of KEDA's two parts."""

_POLLING_SECONDS = 15
_FAILURES = 3
_OPERATOR_IMAGE = "ghcr.io/kedacore/keda"
_ADAPTER_IMAGE = "ghcr.io/kedacore/keda-metrics-apiserver"
_RELEASE_NAMESPACE = "keda"
_USER = 65532
# Measured with a few models: about 115 MB the operator, 105 MB the adapter.
_REQUESTS = {"cpu": "20m", "memory": "128Mi"}
_LIMITS = {"memory": "384Mi"}


class KedaImages(Inputs):
    """References by digest."""

    operator: str
    adapter: str


class AutoscalerInputs(Inputs):
    """What a model's autoscaler depends on."""

    name: str
    min_replicas: int
    max_replicas: int
    target_requests: int
    kv_cache_percent: int
    cooldown_seconds: int


class _TemplateInputs(Inputs):
    namespace: str
    model: AutoscalerInputs
    prometheus: str
    polling_seconds: int
    failures: int
    requests_query: str
    kv_cache_query: str


def requests_query(name: str) -> str:
    """Return the PromQL of all requests of a model that run or wait.

    The autoscaler divides it by the number of replicas. Without any series it has no result, not zero.
    """
    running = f'sum(vllm:num_requests_running{{model="{name}"}})'
    return f'{running} + sum(vllm:num_requests_waiting{{model="{name}"}})'


def kv_cache_query(name: str) -> str:
    """Return the PromQL of how full the KV caches of a model's replicas are, in percent of one, added up."""
    return f'100 * sum(vllm:kv_cache_usage_perc{{model="{name}"}})'


def autoscaler_objects(inputs: AutoscalerInputs, namespace: str) -> tuple[Manifest, ...]:
    """Return the objects that scale one model's Deployment, which has the model's name."""
    return render(
        "autoscaler.yaml.j2",
        _TemplateInputs(
            namespace=namespace,
            model=inputs,
            prometheus=PROMETHEUS,
            polling_seconds=_POLLING_SECONDS,
            failures=_FAILURES,
            requests_query=requests_query(inputs.name),
            kv_cache_query=kv_cache_query(inputs.name),
        ),
    )


class _NamespaceInputs(Inputs):
    namespace: str


def keda_objects(release: addon.Objects, images: KedaImages, dns_domain: str) -> tuple[Manifest, ...]:
    """Return KEDA's operator and metrics adapter out of its release file, in our namespace and hardened."""
    objects = addon.with_images(release, {_OPERATOR_IMAGE: images.operator, _ADAPTER_IMAGE: images.adapter})
    # Without KEDA's admission webhook the operator waits for one for ever, and never answers the adapter.
    flags = ("--enable-webhook-patching=false", f"--k8s-cluster-domain={dns_domain}")
    objects = addon.with_arguments(objects, OPERATOR, *flags)
    service = f"{OPERATOR}.{NAMESPACE}.svc.{dns_domain}:9666"
    objects = addon.with_arguments(objects, ADAPTER, f"--metrics-service-address={service}")
    for container in (OPERATOR, ADAPTER):
        objects = addon.with_resources(objects, container, requests=_REQUESTS, limits=_LIMITS)
    objects = addon.placed(addon.hardened(objects, user=_USER))
    objects = addon.in_namespace(objects, NAMESPACE, was=_RELEASE_NAMESPACE)
    return (*render("autoscaling-namespace.yaml.j2", _NamespaceInputs(namespace=NAMESPACE)), *objects)
