"""The whole cluster at a glance: is it well, and if not, where to look."""

from llmprov.observability.dashboards.values import Board, Panel, Query, Row

_DCGM = "measured by NVIDIA's DCGM exporter on real GPUs"

_NOW = Row(
    "Now",
    (
        Panel(
            "Alerts that fire",
            "none",
            (Query('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)'),),
            "Without the dead man's switch. `llmprov status` lists them.",
            "stat",
        ),
        Panel("Nodes that answer", "none", (Query("sum(node:kubelet_up:bool)"),), "By their kubelet.", "stat"),
        Panel("Nodes", "none", (Query("count(node:kubelet_up:bool)"),), kind="stat"),
        Panel("Ready replicas", "none", (Query("sum(model:replicas_ready:count)"),), "Of all models.", "stat"),
        Panel("Replicas", "none", (Query("sum(model:replicas:count)"),), "Of all models, also starting ones.", "stat"),
        Panel("Targets down", "none", (Query("count(up == 0) or vector(0)"),), "Of Prometheus' scrapes.", "stat"),
    ),
)
_SERVICE = Row(
    "Service",
    (
        Panel("Requests", "reqps", (Query("model:requests:rate5m", "{{model}}"),), "Answered, with whatever status."),
        Panel(
            "Failed requests", "percentunit", (Query("model:failures:ratio_rate5m", "{{model}}"),), "Share with a 5xx."
        ),
        Panel(
            "Generated tokens",
            "short",
            (Query("model:generation_tokens:rate1m", "{{model}}"),),
            "Per second, all replicas.",
        ),
        Panel("Time to first token, p95", "s", (Query("model:ttft_seconds:p95_5m", "{{model}}"),)),
        Panel(
            "Waiting requests", "short", (Query("model:requests_waiting:sum", "{{model}}"),), "In the engines' queues."
        ),
        Panel("KV cache, fullest replica", "percentunit", (Query("model:kv_cache_usage:max", "{{model}}"),)),
    ),
)
_HOSTS = Row(
    "Nodes",
    (
        Panel("CPU", "short", (Query("node:cpu_used:cores", "{{node}}"),), "Cores in use."),
        Panel(
            "Memory", "percentunit", (Query("node:memory_used:ratio", "{{node}}"),), "Not available to new programs."
        ),
        Panel("Disk, free", "percentunit", (Query("node:disk_free:ratio", "{{node}} {{device}}"),)),
        Panel(
            "GPU use",
            "percentunit",
            (Query("avg by (node, gpu) (DCGM_FI_DEV_GPU_UTIL) / 100", "{{node}} {{gpu}}"),),
            "Share of time in which a kernel ran.",
            gpu_only=_DCGM,
        ),
        Panel(
            "GPU temperature",
            "celsius",
            (Query("max by (node, gpu) (DCGM_FI_DEV_GPU_TEMP)", "{{node}} {{gpu}}"),),
            gpu_only=_DCGM,
        ),
        Panel(
            "GPU power",
            "watt",
            (Query("max by (node, gpu) (DCGM_FI_DEV_POWER_USAGE)", "{{node}} {{gpu}}"),),
            gpu_only=_DCGM,
        ),
    ),
)

FLEET = Board("fleet", "llmprov / fleet", "Is the cluster well, and if not, where to look.", (_NOW, _SERVICE, _HOSTS))
