"""Rules and dashboards ask for metrics that exist: those that a lab under load was seen to have, and a few others."""

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from llmprov.observability.rules import records
from llmprov.observability.scrape import KEPT
from llmprov.observability.values import Objectives
from tests.contract.monitoring.names import names_in, panel_expressions, rule_expressions, used
from tests.contract.monitoring.record import SAMPLES

type Tool = Callable[..., subprocess.CompletedProcess[str]]

_DCGM = "NVIDIA's DCGM exporter needs a GPU and its image is not built here; named as in its default counters"
_KSM = "kube-state-metrics is not built here; named as in its documentation"
# What no lab can record, and why.
UNRECORDED = {
    "DCGM_FI_DEV_FB_FREE": _DCGM,
    "DCGM_FI_DEV_FB_USED": _DCGM,
    "DCGM_FI_DEV_GPU_TEMP": _DCGM,
    "DCGM_FI_DEV_GPU_UTIL": _DCGM,
    "DCGM_FI_DEV_POWER_USAGE": _DCGM,
    "DCGM_FI_DEV_XID_ERRORS": _DCGM,
    "kube_deployment_spec_replicas": _KSM,
    "kube_deployment_status_replicas_available": _KSM,
    "kube_horizontalpodautoscaler_spec_max_replicas": _KSM,
    "kube_horizontalpodautoscaler_status_current_replicas": _KSM,
    "kube_node_status_allocatable": _KSM,
    "kube_node_status_condition": _KSM,
    "kube_pod_container_resource_requests": _KSM,
}
ALWAYS = frozenset({"ALERTS"})
"""What Prometheus makes itself."""


def names_of(lines: Iterable[str]) -> frozenset[str]:
    return frozenset(re.split(r"[{ ]", line, maxsplit=1)[0] for line in lines if line and not line.startswith("#"))


def recorded() -> frozenset[str]:
    return frozenset().union(*(names_of(file.read_text().splitlines()) for file in SAMPLES.glob("*.prom")))


def made_by_rules() -> frozenset[str]:
    return frozenset(rule.record for rule in records(Objectives()))


def test_every_metric_was_seen() -> None:
    assert used() - recorded() - made_by_rules() - ALWAYS - set(UNRECORDED) == set()


def test_what_was_not_seen_is_still_asked_for_and_still_not_seen() -> None:
    assert set(UNRECORDED) <= used()
    assert not set(UNRECORDED) & recorded()


def test_every_recording_rule_is_used() -> None:
    # The autoscaler's operators and people may use these two, too.
    assert made_by_rules() - used() <= {"model:requests:rate6h", "model:requests:rate30m"}


@pytest.mark.parametrize("file", ["vllm.prom", "h200/vllm.metrics"])
def test_engines_on_cpu_and_gpu_have_what_is_asked_of_them(file: str) -> None:
    asked = {name for name in used() if name.startswith("vllm:")}
    assert asked
    assert asked - names_of((SAMPLES / file).read_text().splitlines()) == set()


def test_panels_without_data_in_the_lab_ask_only_for_what_no_lab_records() -> None:
    for title, expr in panel_expressions(gpu_only=True):
        assert names_in(expr) <= set(UNRECORDED), title
    for title, expr in panel_expressions(gpu_only=False):
        assert not names_in(expr) & set(UNRECORDED), title


@pytest.mark.parametrize("job", sorted(KEPT))
def test_no_scrape_drops_what_is_asked_for(job: str) -> None:
    prefix = {"apiserver": "apiserver_", "kubelet": "kubelet_", "cadvisor": "container_", "envoy": "envoy_"}.get(job)
    if prefix is None:
        assert (
            not {name for name in used() if name.startswith(f"{job.replace('-', '_')}_")} - recorded() - set(UNRECORDED)
        )
        return
    asked = [name for name in used() if name.startswith(prefix)]
    assert asked
    assert [name for name in asked if not re.fullmatch("|".join(KEPT[job]), name)] == []


def test_every_expression_can_be_read(promtool: Tool, tmp_path: Path) -> None:
    panels = [expr for gpu_only in (False, True) for _, expr in panel_expressions(gpu_only=gpu_only)]
    rules = [{"record": f"x:{place}", "expr": expr} for place, expr in enumerate((*rule_expressions(), *panels))]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": rules}]}))
    done = promtool("check", "rules", "--lint=none", file)
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": [{"record": "x", "expr": "sum(rate(a[5m])"}]}]}))
    assert promtool("check", "rules", file).returncode != 0


def test_names_are_found_in_expressions() -> None:
    expr = 'sum by (model, le) (rate(a:b_total{x="y and z", job=~"q"}[5m])) / on (c) group_left () (d > bool 0)'
    assert names_in("time() - e or vector(0)") == {"e"}
    assert names_in(expr) == {"a:b_total", "d"}
