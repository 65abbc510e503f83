"""How many replicas of a model serve: a KEDA ScaledObject on the engine's own metrics, as Prometheus has them."""

from llmprov.manifests.render import Inputs, Manifest, render

NAMESPACE = "llmprov-autoscaling"
PROMETHEUS = "http://prometheus.llmprov-monitoring.svc:9090"
"""The monitoring stage's Service, as seen by the autoscaler."""

_POLLING_SECONDS = 15
_FAILURES = 3


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
