"""What Prometheus scrapes: jobs as its own configuration writes them, one function for each way of finding targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

type Document = dict[str, object]

_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_MODEL = "__meta_kubernetes_pod_label_llmprov_io_model"
_SLICE = "__meta_kubernetes_endpointslice_endpoint_conditions_"

# Components with thousands of series of which a few are looked at: what is not named here is not stored.
KEPT: Mapping[str, tuple[str, ...]] = {
    "apiserver": (
        "apiserver_client_certificate_expiration_seconds_(bucket|count)",
        "apiserver_current_inflight_requests",
        "apiserver_request_total",
        "apiserver_storage_size_bytes",
        "etcd_request_errors_total",
        "etcd_requests_total",
        "process_.*",
    ),
    "kubelet": (
        "kubelet_certificate_manager_client_ttl_seconds",
        "kubelet_image_pull_duration_seconds_(sum|count)",
        "kubelet_pleg_last_seen_seconds",
        "kubelet_running_(pods|containers)",
        "kubelet_runtime_operations_errors_total",
        "kubelet_started_pods_errors_total",
        "process_.*",
    ),
    "cadvisor": (
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_network_(receive|transmit)_bytes_total",
        "container_oom_events_total",
        "container_spec_memory_limit_bytes",
        "container_start_time_seconds",
        "machine_(cpu_cores|memory_bytes)",
    ),
    "envoy": (
        "envoy_cluster_membership_(healthy|total)",
        "envoy_cluster_outlier_detection_ejections_active",
        "envoy_cluster_upstream_(cx|rq)_active",
        "envoy_cluster_upstream_rq_pending_overflow",
        "envoy_cluster_upstream_rq_retry",
        "envoy_cluster_upstream_rq_time_(bucket|sum|count)",
        "envoy_cluster_upstream_rq_xx",
        "envoy_http_downstream_(cx|rq)_active",
        "envoy_http_downstream_rq_xx",
        "envoy_server_(days_until_first_cert_expiring|live|memory_allocated)",
    ),
    "coredns": ("coredns_(dns_(requests|responses)|panics)_total", "coredns_forward_.*_total", "process_.*"),
    "envoy-gateway": ("(resource_apply|status_update|watchable_publish|xds_snapshot_update)_total", "process_.*"),
    "keda": ("keda_(build|scaled_object|scaler|trigger)_.*", "process_.*"),
    "metrics-server": ("metrics_server_.*", "process_.*"),
    "registry": ("registry_http_(requests|in_flight_requests).*", "registry_storage_.*", "process_.*"),
}


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods of one component.

    Attributes:
        job: name of the scrape job.
        namespace: where the pods are.
        labels: that they carry; `name=value`, joined by commas.
        port: TCP port of the metrics.
        path: of the metrics.
        honor_labels: the component's own labels win: they say what a series is about, not where it came from.
    """

    job: str
    namespace: str
    labels: str
    port: int
    path: str = "/metrics"
    honor_labels: bool = False


def pods(target: Pods) -> Document:
    """Scrape the running pods of a component; labels pod and node say which."""
    return _job(
        target.job,
        [
            _keep("__meta_kubernetes_pod_phase", "Running"),
            _replace(["__meta_kubernetes_pod_ip"], "__address__", replacement=f"$1:{target.port}"),
            _replace(["__meta_kubernetes_pod_node_name"], "node"),
            _replace(["__meta_kubernetes_pod_name"], "pod"),
        ],
        metrics_path=target.path,
        honor_labels=target.honor_labels,
        kubernetes_sd_configs=[_discovery("pod", target.namespace, target.labels)],
    )


def models(namespace: str) -> Document:
    """Scrape the engines through their models' Services, so that it is known whether each is ready."""
    conditions = [f"{_SLICE}ready", f"{_SLICE}terminating"]
    return _job(
        "vllm",
        [
            # A pod may be behind further Services; that of the model's own name is the one that counts.
            _keep("__meta_kubernetes_endpointslice_port_name", "http"),
            _keep(_MODEL, ".+"),
            {"action": "keepequal", "source_labels": ["__meta_kubernetes_service_name"], "target_label": _MODEL},
            _replace([_MODEL], "model"),
            _replace(["__meta_kubernetes_namespace"], "namespace"),
            _replace(["__meta_kubernetes_pod_node_name"], "node"),
            _replace(["__meta_kubernetes_pod_name"], "pod"),
            _replace(["__meta_kubernetes_service_annotation_llmprov_io_max_replicas"], "max_replicas"),
            _replace(conditions, "ready", regex="(.*);(?:false)?", replacement="$1"),
            _replace(conditions, "ready", regex=".*;true", replacement="terminating"),
        ],
        # Of `up` these say what is known of the replica. The engine's own series would begin anew at each change.
        metrics=[{"action": "labeldrop", "regex": "ready|max_replicas"}],
        kubernetes_sd_configs=[_discovery("endpointslice", namespace)],
    )


def nodes(job: str, path: str) -> Document:
    """Scrape the kubelet of every node, with Prometheus' own service account."""
    found = _job(
        job,
        [_replace(["__meta_kubernetes_node_name"], "node")],
        metrics_path=path,
        honor_labels=job == "cadvisor",
        kubernetes_sd_configs=[{"role": "node"}],
    )
    # kubeadm's kubelets sign their own certificates.
    return found | _https(insecure_skip_verify=True)


def api_servers() -> Document:
    """Scrape every API server."""
    found = _job(
        "apiserver",
        [
            _keep("__meta_kubernetes_service_name", "kubernetes"),
            _keep("__meta_kubernetes_endpointslice_port_name", "https"),
        ],
        kubernetes_sd_configs=[_discovery("endpointslice", "default")],
    )
    return found | _https(ca_file=f"{_TOKEN}/ca.crt", server_name="kubernetes")


def secure_pods(target: Pods) -> Document:
    """Scrape pods over TLS with a certificate that they made for themselves."""
    return pods(target) | _https(insecure_skip_verify=True)


def fixed(job: str, address: str, node: str = "") -> Document:
    """Scrape one known address, of a node when it is one's."""
    return _job(job, [], static_configs=[{"targets": [address], **({"labels": {"node": node}} if node else {})}])


def routes_to_models(namespace: str) -> Sequence[Document]:
    """Name the model of each of the data plane's series, from the route that its cluster is named after."""
    return [_replace(["envoy_cluster_name"], "model", regex=f"httproute/{namespace}/([^/]+)/rule/.*")]


def with_metrics(job: Document, rules: Sequence[Document]) -> Document:
    """Change series of a job further."""
    before = job.get("metric_relabel_configs", [])
    return job | {"metric_relabel_configs": [*(before if isinstance(before, list) else []), *rules]}


def _job(name: str, relabel: Sequence[Document], *, metrics: Sequence[Document] = (), **more: object) -> Document:
    kept = [_keep("__name__", "|".join(KEPT[name]))] if name in KEPT else []
    changes = {"relabel_configs": [*relabel], "metric_relabel_configs": [*kept, *metrics]}
    # What is not set is left to Prometheus.
    return {"job_name": name, **{key: value for key, value in {**more, **changes}.items() if value}}


def _https(**tls: object) -> Document:
    return {"scheme": "https", "authorization": {"credentials_file": f"{_TOKEN}/token"}, "tls_config": tls}


def _discovery(role: str, namespace: str, labels: str = "") -> Document:
    selectors = {"selectors": [{"role": role, "label": labels}]} if labels else {}
    return {"role": role, "namespaces": {"names": [namespace]}, **selectors}


def _keep(label: str, regex: str) -> Document:
    return {"action": "keep", "source_labels": [label], "regex": regex}


def _replace(sources: Sequence[str], target: str, *, regex: str = "(.*)", replacement: str = "$1") -> Document:
    return {"source_labels": [*sources], "regex": regex, "target_label": target, "replacement": replacement}
