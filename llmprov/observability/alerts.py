"""The alerts: few, each with a cause that somebody can act on, each with a runbook of its name."""

from collections.abc import Sequence

from llmprov.observability.values import AlertRule, Objectives, RuleGroup, Severity

WATCHDOG = "Watchdog"
"""Fires always: what is told when it stops is that nobody is told anything any more."""

# Not every series has this label, and an empty place in a sentence reads badly.
_ON_NODE = "{{ with $labels.node }} on {{ . }}{{ end }}"
_DAY = 86400
_CERTIFICATE_DAYS = 21
# A fast burn is gone in two days' budget per hour, a slow one in five days: window, control window, factor, severity.
_BURNS: tuple[tuple[str, str, float, Severity], ...] = (
    ("1h", "5m", 14.4, "critical"),
    ("6h", "30m", 6.0, "warning"),
)
# A single failed request in a quiet night is no trend.
_FEWEST_PER_SECOND = 0.005
# Xids of a fault in a program, not in the GPU: NVIDIA's Xid catalogue.
_PROGRAM_XIDS = (13, 31, 43, 45)


def alert_groups(objectives: Objectives, jobs: Sequence[str]) -> tuple[RuleGroup, ...]:
    """Return every alert.

    Args:
        objectives: what is good enough.
        jobs: scrape jobs that must have a target.
    """
    return (
        RuleGroup("llmprov-service", (*_burning(objectives), *_load(objectives))),
        RuleGroup("llmprov-replicas", _replicas(objectives)),
        RuleGroup("llmprov-autoscaling", _autoscaling(objectives)),
        RuleGroup("llmprov-hosts", _hosts(objectives)),
        RuleGroup("llmprov-monitoring", _monitoring(objectives, jobs)),
    )


def _burning(objectives: Objectives) -> tuple[AlertRule, ...]:
    budgets = (
        ("AvailabilityBudgetBurning", "failures", 1 - objectives.availability, "requests to {{ $labels.model }} fail"),
        (
            "TtftBudgetBurning",
            "ttft_slow",
            1 - objectives.ttft_share,
            f"requests to {{{{ $labels.model }}}} wait longer than {objectives.ttft_seconds:g} s for their first token",
        ),
    )
    return tuple(
        AlertRule(
            name,
            f"model:{what}:ratio_rate{long} > {factor * budget:.6g}"
            f" and model:{what}:ratio_rate{short} > {factor * budget:.6g}"
            f" and model:requests:rate{long} > {_FEWEST_PER_SECOND}",
            objectives.seconds(name, 120),
            severity,
            f"{{{{ $value | humanizePercentage }}}} of {text} (over {long})",
        )
        for name, what, budget, text in budgets
        for long, short, factor, severity in _BURNS
    )


def _load(objectives: Objectives) -> tuple[AlertRule, ...]:
    return (
        AlertRule(
            "QueueGrowing",
            f"model:requests_waiting:sum / clamp_min(model:replicas_ready:count, 1) > {objectives.queue_per_replica}",
            objectives.seconds("QueueGrowing", 300),
            "critical",
            "{{ $value | humanize }} requests wait for each ready replica of {{ $labels.model }}",
        ),
        AlertRule(
            "KvCacheFull",
            'max by (model, pod, node) (vllm:kv_cache_usage_perc{job="vllm"}) > 0.95',
            objectives.seconds("KvCacheFull", 600),
            "warning",
            "the KV cache of {{ $labels.pod }} ({{ $labels.model }}) is {{ $value | humanizePercentage }} full",
        ),
    )


def _replicas(objectives: Objectives) -> tuple[AlertRule, ...]:
    # A replica that froze is restarted, and one whose node was away starts anew: both were told.
    unready = (
        'count by (model, namespace, pod, node) (up{job="vllm", ready="false"})'
        " unless on (pod) max_over_time(replica:frozen:bool[3m])"
        " unless on (node) node:away:bool == 1"
    )
    # A pod that no node has room for is seen by kube-state-metrics only.
    missing = (
        'label_replace(kube_deployment_spec_replicas{namespace="llmprov-models"}'
        ' - kube_deployment_status_replicas_available{namespace="llmprov-models"} > 0,'
        ' "model", "$1", "deployment", "(.*)")'
        f" unless on (model) ({unready})"
    )
    return (
        AlertRule(
            "EngineFrozen",
            "replica:frozen:bool == 1 unless on (node) node:away:bool == 1",
            objectives.seconds("EngineFrozen", 60),
            "critical",
            "the engine of {{ $labels.pod }} ({{ $labels.model }}) on {{ $labels.node }} neither answers nor ends",
        ),
        AlertRule(
            "ReplicaNotReady",
            f"{unready} or {missing}",
            objectives.seconds("ReplicaNotReady", 900),
            "critical",
            "a replica of {{ $labels.model }} is not ready{{ with $labels.pod }}: {{ . }}{{ end }}" + _ON_NODE,
        ),
    )


def _autoscaling(objectives: Objectives) -> tuple[AlertRule, ...]:
    # Without a ready replica there is no load to read, and other alerts tell why.
    unready = 'label_replace(model:replicas_ready:count == 0, "scaledObject", "$1", "model", "(.*)")'
    return (
        AlertRule(
            "AutoscalerBlind",
            'sum by (namespace, scaledObject) (increase(keda_scaler_detail_errors_total{job="keda"}[2m])) > 0'
            f" unless on (scaledObject) {unready}",
            objectives.seconds("AutoscalerBlind", 300),
            "critical",
            "the autoscaler cannot read the load of {{ $labels.scaledObject }}",
        ),
        # The maximum is an annotation of the model's Service, so it comes as a label: compared as text.
        AlertRule(
            "AutoscalerAtMax",
            'count_values by (model) ("max_replicas", model:replicas:count)'
            ' and on (model, max_replicas) up{job="vllm", max_replicas!=""}'
            " and on (model) model:requests_waiting:sum > 0",
            objectives.seconds("AutoscalerAtMax", 900),
            "warning",
            "{{ $labels.model }} runs its maximum of {{ $labels.max_replicas }} replicas and requests still wait",
        ),
    )


def _hosts(objectives: Objectives) -> tuple[AlertRule, ...]:
    program = " or ".join(f"DCGM_FI_DEV_XID_ERRORS == {xid}" for xid in _PROGRAM_XIDS)
    return (
        AlertRule(
            "NodeNotReady",
            "node:kubelet_up:bool == 0"
            ' or time() - max by (node) (kubelet_pleg_last_seen_seconds{job="kubelet"}) > 180'
            ' or max by (node) (kube_node_status_condition{condition="Ready", status="true"}) == 0',
            objectives.seconds("NodeNotReady", 120),
            "critical",
            "node {{ $labels.node }} is not ready",
        ),
        AlertRule(
            "GpuXidError",
            f"(DCGM_FI_DEV_XID_ERRORS > 0) unless ({program})",
            objectives.seconds("GpuXidError", 0),
            "critical",
            "GPU {{ $labels.gpu }} of {{ $labels.node }} reports Xid {{ $value }}",
        ),
        AlertRule(
            "DiskFilling",
            "node:disk_free:ratio < 0.1"
            " or node:disk_free:ratio < 0.3 and predict_linear(node:disk_free:ratio[6h], 86400) < 0",
            objectives.seconds("DiskFilling", 1800),
            "warning",
            "{{ $value | humanizePercentage }} of {{ $labels.device }} of {{ $labels.node }} are free",
        ),
        AlertRule(
            "CertificateAgeing",
            _certificates(_CERTIFICATE_DAYS * _DAY),
            objectives.seconds("CertificateAgeing", 3600),
            "warning",
            "a certificate of the {{ $labels.of }}" + _ON_NODE + " expires in {{ $value | humanizeDuration }}",
        ),
    )


def _certificates(seconds: int) -> str:
    parts = {
        "kubelet": 'min by (node) (kubelet_certificate_manager_client_ttl_seconds{job="kubelet"})',
        # The shortest-lived of all client certificates that somebody used to talk to the API server.
        "control plane": "histogram_quantile(0.01, sum by (le)"
        ' (rate(apiserver_client_certificate_expiration_seconds_bucket{job="apiserver"}[15m])))',
        "gateway": f'{_DAY} * min by (job) (envoy_server_days_until_first_cert_expiring{{job="envoy"}})',
    }
    return " or ".join(f'label_replace({expr}, "of", "{name}", "", "") < {seconds}' for name, expr in parts.items())


def _monitoring(objectives: Objectives, jobs: Sequence[str]) -> tuple[AlertRule, ...]:
    down = 'up{job!~"vllm|kubelet"} == 0 unless on (node) node:away:bool == 1'
    no_exporter = (
        'label_replace((node:kubelet_up:bool == 1 unless on (node) up{job="node-exporter"})'
        ' unless on (node) node:away:bool == 1, "job", "node-exporter", "", "")'
    )
    absent = (f'absent(up{{job="{job}"}})' for job in jobs)
    return (
        AlertRule(
            "TargetDown",
            " or ".join((down, no_exporter, *absent)),
            objectives.seconds("TargetDown", 300),
            "warning",
            "{{ $labels.job }}{{ with $labels.instance }} {{ . }}{{ end }}" + _ON_NODE + " is not scraped",
        ),
        AlertRule(WATCHDOG, "vector(1)", 0, "none", "alerts are delivered"),
    )
