"""How much is left: of GPUs, caches, memory and disks, and of monitoring itself."""

from llmprov.observability.dashboards.values import Board, Panel, Query, Row

_DCGM = "measured by NVIDIA's DCGM exporter on real GPUs"
_KSM = "counted by kube-state-metrics, of which the lab has no build"

_GPUS = Row(
    "GPUs",
    (
        Panel(
            "GPUs asked for",
            "short",
            (
                Query('sum(kube_node_status_allocatable{resource="nvidia_com_gpu"})', "there are"),
                Query('sum(kube_pod_container_resource_requests{resource="nvidia_com_gpu"})', "asked for"),
            ),
            gpu_only=_KSM,
        ),
        Panel(
            "GPU memory in use",
            "percentunit",
            (
                Query(
                    "max by (node, gpu) (DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE))",
                    "{{node}} {{gpu}}",
                ),
            ),
            gpu_only=_DCGM,
        ),
        Panel(
            "Replicas against the maximum",
            "short",
            (
                Query("sum(kube_horizontalpodautoscaler_status_current_replicas)", "are"),
                Query("sum(kube_horizontalpodautoscaler_spec_max_replicas)", "may be"),
            ),
            gpu_only=_KSM,
        ),
    ),
)
_MODELS = Row(
    "Models",
    (
        Panel(
            "Requests per ready replica",
            "short",
            (
                Query(
                    "(model:requests_running:sum + model:requests_waiting:sum) / (model:replicas_ready:count > 0)",
                    "{{model}}",
                ),
            ),
            "What the autoscaler looks at.",
        ),
        Panel("KV cache, fullest replica", "percentunit", (Query("model:kv_cache_usage:max", "{{model}}"),)),
        Panel(
            "Cache of each engine",
            "none",
            (
                Query(
                    'max by (pod, gpu_memory_utilization, num_gpu_blocks) (vllm:cache_config_info{job="vllm"})',
                    "{{pod}}: {{gpu_memory_utilization}} of a GPU, {{num_gpu_blocks}} blocks",
                ),
            ),
            "How each engine was started; the numbers are in the legend.",
        ),
    ),
)
_NODES = Row(
    "Nodes",
    (
        Panel("CPU", "short", (Query("node:cpu_used:cores", "{{node}}"),), "Cores in use."),
        Panel("Memory", "percentunit", (Query("node:memory_used:ratio", "{{node}}"),)),
        Panel("Disk, free", "percentunit", (Query("node:disk_free:ratio", "{{node}} {{device}}"),)),
        Panel(
            "Memory of the models' pods",
            "bytes",
            (
                Query(
                    "sum by (node) (container_memory_working_set_bytes"
                    '{job="cadvisor", namespace="llmprov-models", container!=""})',
                    "{{node}}",
                ),
            ),
        ),
        Panel(
            "Network, received",
            "bytes",
            (
                Query(
                    'sum by (node) (rate(container_network_receive_bytes_total{job="cadvisor", id="/"}[5m]))',
                    "{{node}}",
                ),
            ),
            "Per second.",
        ),
        Panel(
            "Stalled for memory or disk",
            "percentunit",
            (
                Query(
                    'max by (node) (rate(node_pressure_memory_stalled_seconds_total{job="node-exporter"}[5m]))',
                    "{{node}} memory",
                ),
                Query(
                    'max by (node) (rate(node_pressure_io_stalled_seconds_total{job="node-exporter"}[5m]))',
                    "{{node}} disk",
                ),
            ),
            "Share of time in which every program waited.",
        ),
    ),
)
_ITSELF = Row(
    "The platform",
    (
        Panel(
            "Memory of add-ons",
            "bytes",
            (
                Query(
                    "sum by (namespace) (container_memory_working_set_bytes"
                    '{job="cadvisor", namespace=~"llmprov-(autoscaling|gateway|monitoring)", container!=""})',
                    "{{namespace}}",
                ),
            ),
        ),
        Panel("Series", "short", (Query("prometheus_tsdb_head_series"),), "That Prometheus keeps in memory."),
        Panel(
            "Data of Prometheus",
            "bytes",
            (
                Query("prometheus_tsdb_storage_blocks_bytes", "blocks"),
                Query("prometheus_tsdb_retention_limit_bytes", "limit"),
            ),
        ),
        Panel("Size of etcd", "bytes", (Query("max by (instance) (apiserver_storage_size_bytes)", "{{instance}}"),)),
        Panel(
            "API server, failed requests",
            "reqps",
            (Query('sum(rate(apiserver_request_total{job="apiserver", code=~"5.."}[5m])) or vector(0)'),),
        ),
        Panel(
            "Client certificates, shortest life",
            "dtdurations",
            (Query('min by (node) (kubelet_certificate_manager_client_ttl_seconds{job="kubelet"})', "{{node}}"),),
            "Of the kubelets; they renew theirs themselves.",
        ),
    ),
)

CAPACITY = Board("capacity", "llmprov / capacity", "How much is left.", (_GPUS, _MODELS, _NODES, _ITSELF))
