"""What Prometheus and Alertmanager answer, and what llmprov makes of it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from llmprov.cluster.client import Cluster
from llmprov.errors import ClusterError
from llmprov.progress import NullProgress
from llmprov.workflows import monitoring_checks as checks
from llmprov.workflows.monitoring import firing
from llmprov.workflows.monitoring_checks import Expected, findings, wait_scraped
from tests.unit.cluster.conftest import Direct, cluster_at

PREFIX = "/api/v1/namespaces/llmprov-monitoring/services"


@dataclass
class Backends:
    """What each path answers, one answer after the other; the last one stays."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(backends: Backends) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Keep quiet."""

        def do_GET(self) -> None:
            backends.asked.append(self.path)
            path = self.path.partition("?")[0]
            known = backends.answers.get(path.removeprefix(PREFIX))
            body = known.pop(0) if known and len(known) > 1 else known[0] if known else {"message": "no endpoints"}
            data = json.dumps(body).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def backends() -> Backends:
    return Backends()


@pytest.fixture
def cluster(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(checks, "_PAUSE", 0.01)
    with serving(backends) as url:
        yield cluster_at(url, Direct(url), patience=2.0)


def target(job: str, health: str = "up", error: str = "", **labels: str) -> dict[str, Any]:
    return {"labels": {"job": job, "instance": f"{job}:1", **labels}, "health": health, "lastError": error}


def targets(*items: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"activeTargets": list(items), "droppedTargets": []}}


def rules(error: str = "") -> dict[str, Any]:
    rule = {"name": "node:away:bool", "health": "err" if error else "ok", "lastError": error}
    return {"data": {"groups": [{"name": "g", "rules": [rule]}]}}


def alert(name: str, severity: str, minute: int = 0) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": severity, "model": "m"},
        "annotations": {"summary": f"{name} of m", "runbook": f"docs/runbooks/{name}.md"},
        "startsAt": f"2026-01-01T00:{minute:02d}:00Z",
    }


TARGETS, RULES = "/prometheus:http/proxy/api/v1/targets", "/prometheus:http/proxy/api/v1/rules"
ALERTS = "/alertmanager:http/proxy/api/v2/alerts"


def test_it_waits_until_every_target_is_up(cluster: Cluster, backends: Backends) -> None:
    backends.answers = {
        TARGETS: [targets(), targets(target("keda", "unknown")), targets(target("keda"))],
        RULES: [rules()],
    }
    wait_scraped(cluster, [Expected("keda", 1)], NullProgress())
    assert len([path for path in backends.asked if "targets" in path]) == 3


def test_it_names_what_is_not_up_with_its_last_error(
    cluster: Cluster, backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_SCRAPED_SECONDS", 0.05)
    backends.answers = {
        TARGETS: [targets(target("keda", "down", "connection refused", pod="keda-1"), target("kubelet"))]
    }
    with pytest.raises(ClusterError) as caught:
        wait_scraped(cluster, [Expected("keda", 1), Expected("kubelet", 3), Expected("coredns", 1)], NullProgress())
    assert caught.value.details == (
        "keda keda:1 keda-1: connection refused",
        "kubelet: 1 of 3 targets found",
        "coredns: 0 of 1 targets found",
    )
    assert caught.value.remedy


def test_a_rule_that_cannot_be_evaluated_is_an_error(cluster: Cluster, backends: Backends) -> None:
    backends.answers = {TARGETS: [targets(target("keda"))], RULES: [rules("many-to-many matching not allowed")]}
    with pytest.raises(ClusterError) as caught:
        wait_scraped(cluster, [Expected("keda", 1)], NullProgress())
    assert caught.value.details == ("node:away:bool: many-to-many matching not allowed",)


def test_targets_that_nobody_expects_do_not_hold_an_install_up() -> None:
    starting = checks.Target(labels={"job": "vllm", "instance": "a:8000"}, health="down")
    assert findings([starting], []) == []


def test_what_fires_comes_worst_and_oldest_first(cluster: Cluster, backends: Backends) -> None:
    backends.answers = {
        ALERTS: [
            [
                alert("Watchdog", "none"),
                alert("TargetDown", "warning"),
                alert("QueueGrowing", "critical", 2),
                alert("NodeNotReady", "critical", 1),
            ]
        ]
    }
    found = firing(cluster)
    assert [item.name for item in found] == ["NodeNotReady", "QueueGrowing", "TargetDown"]
    assert found[0].summary == "NodeNotReady of m"
    assert found[0].runbook == "docs/runbooks/NodeNotReady.md"
    assert found[0].since.minute == 1
    assert "inhibited=false" in backends.asked[0]
    assert "silenced=false" in backends.asked[0]


def test_a_watchdog_that_does_not_bark_is_an_alert(cluster: Cluster, backends: Backends) -> None:
    backends.answers = {ALERTS: [[]]}
    (only,) = firing(cluster)
    assert (only.name, only.severity) == ("Watchdog", "critical")


def test_no_alertmanager_is_an_error(cluster: Cluster) -> None:
    with pytest.raises(ClusterError):
        firing(cluster)
