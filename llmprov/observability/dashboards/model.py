"""One model, or a few: what its users see and what its replicas do."""

from llmprov.observability.dashboards.values import Board, Panel, Query, Row

_M = 'model=~"$model"'
_V = f'job="vllm", {_M}'

_USERS = Row(
    "What users see",
    (
        Panel(
            "Time to first token",
            "s",
            tuple(Query(f"model:ttft_seconds:p{p}_5m{{{_M}}}", f"p{p} {{{{model}}}}") for p in (50, 95, 99)),
        ),
        Panel(
            "Time between tokens",
            "s",
            tuple(Query(f"model:inter_token_seconds:p{p}_5m{{{_M}}}", f"p{p} {{{{model}}}}") for p in (50, 95, 99)),
        ),
        Panel(
            "Whole answers",
            "s",
            tuple(Query(f"model:e2e_seconds:p{p}_5m{{{_M}}}", f"p{p} {{{{model}}}}") for p in (50, 95, 99)),
        ),
        Panel("Requests", "reqps", (Query(f"model:requests:rate5m{{{_M}}}", "{{model}}"),)),
        Panel(
            "How answers end",
            "reqps",
            (
                Query(
                    f"sum by (model, finished_reason) (rate(vllm:request_success_total{{{_V}}}[$__rate_interval]))",
                    "{{model}} {{finished_reason}}",
                ),
            ),
            "`stop`: the model was done; `length`: the limit of tokens was reached; `abort`: the client went away.",
        ),
        Panel(
            "Slow first tokens",
            "percentunit",
            tuple(Query(f"model:ttft_slow:ratio_rate{w}{{{_M}}}", f"{w} {{{{model}}}}") for w in ("5m", "1h")),
            "Share of requests that missed the objective.",
        ),
    ),
)
_LOAD = Row(
    "Load",
    (
        Panel(
            "Requests in the engines",
            "short",
            (
                Query(f"model:requests_running:sum{{{_M}}}", "{{model}} running"),
                Query(f"model:requests_waiting:sum{{{_M}}}", "{{model}} waiting"),
            ),
        ),
        Panel(
            "Replicas",
            "short",
            (
                Query(f"model:replicas:count{{{_M}}}", "{{model}} all"),
                Query(f"model:replicas_ready:count{{{_M}}}", "{{model}} ready"),
            ),
        ),
        Panel(
            "Tokens per second",
            "short",
            (
                Query(f"model:generation_tokens:rate1m{{{_M}}}", "{{model}} generated"),
                Query(f"model:prompt_tokens:rate1m{{{_M}}}", "{{model}} of prompts"),
            ),
        ),
        Panel(
            "Time in the queue, p95",
            "s",
            (
                Query(
                    "histogram_quantile(0.95, sum by (model, le) "
                    f"(rate(vllm:request_queue_time_seconds_bucket{{{_V}}}[$__rate_interval])))",
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "Prefill and decode, mean",
            "s",
            tuple(
                Query(
                    f"sum by (model) (rate(vllm:request_{what}_time_seconds_sum{{{_V}}}[$__rate_interval]))"
                    f" / sum by (model) (rate(vllm:request_{what}_time_seconds_count{{{_V}}}[$__rate_interval]))",
                    f"{{{{model}}}} {what}",
                )
                for what in ("prefill", "decode")
            ),
        ),
        Panel(
            "Length of requests, mean",
            "short",
            tuple(
                Query(
                    f"sum by (model) (rate(vllm:request_{what}_tokens_sum{{{_V}}}[$__rate_interval]))"
                    f" / sum by (model) (rate(vllm:request_{what}_tokens_count{{{_V}}}[$__rate_interval]))",
                    f"{{{{model}}}} {what}",
                )
                for what in ("prompt", "generation")
            ),
            "In tokens.",
        ),
    ),
)
_REPLICAS = Row(
    "Replicas",
    (
        Panel(
            "Running by replica",
            "short",
            (Query(f"sum by (pod, node) (vllm:num_requests_running{{{_V}}})", "{{pod}} on {{node}}"),),
            "Unequal for long: requests are not spread as they should be.",
        ),
        Panel(
            "KV cache by replica",
            "percentunit",
            (Query(f"max by (pod, node) (vllm:kv_cache_usage_perc{{{_V}}})", "{{pod}} on {{node}}"),),
        ),
        Panel(
            "Prefix cache hits",
            "percentunit",
            (
                Query(
                    f"sum by (pod) (rate(vllm:prefix_cache_hits_total{{{_V}}}[$__rate_interval]))"
                    f" / sum by (pod) (rate(vllm:prefix_cache_queries_total{{{_V}}}[$__rate_interval]))",
                    "{{pod}}",
                ),
            ),
            "Share of prompt tokens that were not computed again.",
        ),
        Panel(
            "Preemptions",
            "ops",
            (Query(f"sum by (pod) (rate(vllm:num_preemptions_total{{{_V}}}[$__rate_interval]))", "{{pod}}"),),
            "Requests thrown out of a full KV cache, to be computed again.",
        ),
        Panel(
            "Memory by replica",
            "bytes",
            (Query(f"sum by (pod) (process_resident_memory_bytes{{{_V}}})", "{{pod}}"),),
            "Of the API server's process.",
        ),
        Panel(
            "Starts",
            "dtdurations",
            (Query(f"time() - max by (pod) (process_start_time_seconds{{{_V}}})", "{{pod}}"),),
            "Since when each engine runs.",
        ),
    ),
)

MODEL = Board(
    "model",
    "llmprov / model",
    "What the users of a model see, and what its replicas do.",
    (_USERS, _LOAD, _REPLICAS),
    per_model=True,
)
