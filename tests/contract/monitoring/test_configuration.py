"""Prometheus and Alertmanager take the configurations that an inventory leads to."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from llmprov import inventory
from llmprov.inventory import Inventory
from llmprov.observability.configuration import alertmanager_configuration, job_names, prometheus_configuration
from llmprov.paths import content_root
from llmprov.workflows.monitoring import absent, images, jobs, objectives, scrape_timeout

type Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def example() -> Inventory:
    return inventory.load(content_root() / "inventories" / "example")


def written(document: Mapping[str, object], file: Path) -> Path:
    file.write_text(yaml.safe_dump(json.loads(json.dumps(document))))
    return file


def test_prometheus_takes_its_configuration(example: Inventory, promtool: Tool, tmp_path: Path) -> None:
    document = prometheus_configuration(
        jobs(example), cluster="c", scrape_seconds=15, scrape_timeout=10, alertmanager="alertmanager:9093"
    )
    file = written(document, tmp_path / "prometheus.yml")
    done = promtool("check", "config", "--syntax-only", file)
    assert done.returncode == 0, done.stdout + done.stderr
    written({**document, "scrape_configs": [{"job_name": "a", "relabel_config": []}]}, file)
    assert promtool("check", "config", "--syntax-only", file).returncode != 0


@pytest.mark.parametrize("webhook", ["", "https://alerts.example.org/hook"])
def test_alertmanager_takes_its_configuration(webhook: str, amtool: Tool, tmp_path: Path) -> None:
    document = alertmanager_configuration(webhook=webhook, watchdog_webhook=webhook, sections={})
    file = written(document, tmp_path / "alertmanager.yml")
    done = amtool("check-config", file)
    assert done.returncode == 0, done.stdout + done.stderr
    for labels, receiver in (
        (("alertname=NodeNotReady", "node=n"), "webhook"),
        (("alertname=Watchdog",), "watchdog"),
    ):
        routed = amtool("config", "routes", "test", f"--config.file={file}", *labels)
        assert routed.stdout.strip() == (receiver if webhook else "nobody")


def test_a_section_of_the_users_own_replaces_ours(amtool: Tool, tmp_path: Path) -> None:
    sections = {"receivers": [{"name": "mine"}], "route": {"receiver": "mine"}}
    document = alertmanager_configuration(webhook="https://x", watchdog_webhook="", sections=sections)
    assert document["receivers"] == [{"name": "mine"}]
    assert amtool("check-config", written(document, tmp_path / "a.yml")).returncode == 0


def test_production_has_what_the_lab_leaves_out(example: Inventory) -> None:
    assert {"kube-state-metrics", "dcgm-exporter"} <= set(job_names(jobs(example)))
    assert {"grafana", "kube-state-metrics"} <= set(images(example, None))  # type: ignore[arg-type]
    assert absent(example) == ()


def test_a_scrape_ends_before_the_next_begins(example: Inventory) -> None:
    assert scrape_timeout(example) < example.settings.monitoring.scrape_seconds
    assert objectives(example).scrape_timeout == scrape_timeout(example)
