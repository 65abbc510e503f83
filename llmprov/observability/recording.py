"""Recording rules: what alerts, dashboards and the autoscaler share."""

from llmprov.observability.values import Objectives, RecordingRule, RuleGroup

WINDOWS = ("5m", "30m", "1h", "6h")
"""Of the error budgets' burn rates."""

_ENGINE = 'http_requests_total{job="vllm", handler=~"/v1/.*"}'
_ENGINE_FAILED = 'http_requests_total{job="vllm", handler=~"/v1/.*", status="5xx"}'
# Only the data plane knows of requests for which there was no replica at all.
_ROUTED = 'envoy_cluster_upstream_rq_xx{job="envoy", model!=""}'
_ROUTED_FAILED = 'envoy_cluster_upstream_rq_xx{job="envoy", model!="", envoy_response_code_class="5"}'
_REPLICA = "model, namespace, pod, node"


def recording_groups(objectives: Objectives) -> tuple[RuleGroup, ...]:
    """Return every recording rule."""
    return (
        RuleGroup("llmprov-nodes", _nodes()),
        RuleGroup("llmprov-models", (*_replicas(objectives), *_load(), *_latencies())),
        RuleGroup("llmprov-budgets", tuple(rule for window in WINDOWS for rule in _budgets(window, objectives))),
    )


def _nodes() -> tuple[RecordingRule, ...]:
    usage = 'sum by (node) (rate(node_cpu_seconds_total{job="node-exporter", mode!="idle"}[5m]))'
    return (
        RecordingRule("node:kubelet_up:bool", 'max by (node) (up{job="kubelet"})'),
        # What runs on a node that was away is still starting: its own alert has told.
        RecordingRule("node:away:bool", 'min by (node) (min_over_time(up{job="kubelet"}[5m])) == bool 0'),
        RecordingRule("node:cpu_used:cores", usage),
        RecordingRule(
            "node:memory_used:ratio",
            '1 - max by (node) (node_memory_MemAvailable_bytes{job="node-exporter"})'
            ' / max by (node) (node_memory_MemTotal_bytes{job="node-exporter"})',
        ),
        # One file system may be mounted in many places.
        RecordingRule("node:disk_free:ratio", _disk("node_filesystem_avail_bytes", "node_filesystem_size_bytes")),
    )


def _disk(free: str, size: str) -> str:
    select = '{job="node-exporter", fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660"}'
    return f"max by (node, device) ({free}{select}) / max by (node, device) ({size}{select})"


def _replicas(objectives: Objectives) -> tuple[RecordingRule, ...]:
    hung = 0.9 * objectives.scrape_timeout
    tokens = " + ".join(
        f'sum by (pod) (rate(vllm:{kind}_tokens_total{{job="vllm"}}[2m]))' for kind in ("prompt", "generation")
    )
    return (
        RecordingRule("model:replicas:count", 'count by (model) (up{job="vllm", ready!="terminating"})'),
        RecordingRule(
            "model:replicas_ready:count",
            'count by (model) (up{job="vllm", ready="true"} == 1) or 0 * count by (model) (up{job="vllm"})',
        ),
        # A scrape that ran into its timeout: something listens and does not answer. A refused connection fails at once.
        # Or it answers, and has made no token of the requests that it runs.
        RecordingRule(
            "replica:frozen:bool",
            f'1 + max by ({_REPLICA}) (up{{job="vllm"}} == 0'
            f' and on (instance) scrape_duration_seconds{{job="vllm"}} > {hung:g})'
            f' or 0 * max by ({_REPLICA}) (vllm:num_requests_running{{job="vllm"}} > 0) + 1'
            f" and on (pod) {tokens} == 0",
        ),
    )


def _load() -> tuple[RecordingRule, ...]:
    return (
        RecordingRule("model:requests_running:sum", 'sum by (model) (vllm:num_requests_running{job="vllm"})'),
        RecordingRule("model:requests_waiting:sum", 'sum by (model) (vllm:num_requests_waiting{job="vllm"})'),
        RecordingRule("model:kv_cache_usage:max", 'max by (model) (vllm:kv_cache_usage_perc{job="vllm"})'),
        *(
            RecordingRule(
                f"model:{kind}_tokens:rate1m", f'sum by (model) (rate(vllm:{kind}_tokens_total{{job="vllm"}}[1m]))'
            )
            for kind in ("prompt", "generation")
        ),
    )


def _latencies() -> tuple[RecordingRule, ...]:
    kinds = {"ttft": "time_to_first_token", "inter_token": "inter_token_latency", "e2e": "e2e_request_latency"}
    return tuple(
        RecordingRule(
            f"model:{short}_seconds:p{percentile}_5m",
            f"histogram_quantile({percentile / 100:g},"
            f' sum by (model, le) (rate(vllm:{name}_seconds_bucket{{job="vllm"}}[5m])))',
        )
        for short, name in kinds.items()
        for percentile in (50, 95, 99)
    )


def _budgets(window: str, objectives: Objectives) -> tuple[RecordingRule, ...]:
    routed, engine = _rate(_ROUTED, window), _rate(_ENGINE, window)
    failed = f"({_rate(_ROUTED_FAILED, window)} or 0 * {routed}) or ({_rate(_ENGINE_FAILED, window)} or 0 * {engine})"
    ttft = "vllm:time_to_first_token_seconds"
    fast = _rate(f'{ttft}_bucket{{job="vllm", le="{objectives.ttft_seconds:.1f}"}}', window)
    everything = _rate(f'{ttft}_count{{job="vllm"}}', window)
    return (
        RecordingRule(f"model:requests:rate{window}", f"{routed} or {engine}"),
        RecordingRule(f"model:failures:rate{window}", failed),
        RecordingRule(
            f"model:failures:ratio_rate{window}", f"model:failures:rate{window} / (model:requests:rate{window} > 0)"
        ),
        RecordingRule(f"model:ttft_slow:ratio_rate{window}", f"1 - {fast} / ({everything} > 0)"),
    )


def _rate(selector: str, window: str) -> str:
    return f"sum by (model) (rate({selector}[{window}]))"
