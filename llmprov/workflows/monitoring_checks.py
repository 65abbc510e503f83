"""Asks Prometheus and Alertmanager how they are doing, through the API server's service proxy."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Event

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from llmprov.cluster.client import Cluster
from llmprov.cluster.pods import utc_now
from llmprov.errors import ClusterError
from llmprov.manifests.monitoring import ALERTMANAGER, NAMESPACE, PROMETHEUS
from llmprov.observability.alerts import WATCHDOG
from llmprov.observability.values import RUNBOOKS, Alert
from llmprov.progress import Progress

_SCRAPED_SECONDS = 180.0
_PAUSE = 1.0
_SEVERITIES = ("critical", "warning")


@dataclass(frozen=True, slots=True)
class Expected:
    """A scrape job, and how many targets it has at least."""

    job: str
    targets: int


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Target(_Wire):
    """One target as Prometheus tells of it."""

    labels: Mapping[str, str]
    health: str
    last_error: str = Field(default="", alias="lastError")

    @property
    def name(self) -> str:
        """How messages name it."""
        where = self.labels.get("pod") or self.labels.get("node") or ""
        return f"{self.labels['job']} {self.labels.get('instance', '')} {where}".strip()


class _Targets(_Wire):
    active: tuple[Target, ...] = Field(alias="activeTargets")


class _TargetsAnswer(_Wire):
    data: _Targets


class _Rule(_Wire):
    name: str
    last_error: str = Field(default="", alias="lastError")


class _Group(_Wire):
    rules: tuple[_Rule, ...]


class _Groups(_Wire):
    groups: tuple[_Group, ...]


class _RulesAnswer(_Wire):
    data: _Groups


class _Firing(_Wire):
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime = Field(alias="startsAt")


_FIRING = TypeAdapter(tuple[_Firing, ...])


def targets(cluster: Cluster) -> tuple[Target, ...]:
    """Return what Prometheus scrapes now."""
    body = _get(cluster, PROMETHEUS, "/api/v1/targets", {"state": "active"})
    return _TargetsAnswer.model_validate_json(body).data.active


def wait_scraped(cluster: Cluster, expected: Sequence[Expected], progress: Progress) -> None:
    """Wait until every expected target is up and every rule can be evaluated.

    Raises:
        ClusterError: the time is over; it names each target that is not up, with Prometheus' last error.
    """
    deadline = time.monotonic() + _SCRAPED_SECONDS
    with progress.step("scrape targets") as step:
        while True:
            found = targets(cluster)
            missing = findings(found, expected)
            up = sum(target.health == "up" for target in found)
            step.update("; ".join(missing[:2]), done=up, total=max(len(found), up))
            if not missing:
                break
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{len(missing)} scrape targets are not up after {_SCRAPED_SECONDS:.0f} s",
                    remedy="look at the pods that are named: llmprov status; then run `llmprov install` again",
                    details=tuple(missing),
                )
            Event().wait(_PAUSE)
    _check_rules(cluster)


def findings(found: Sequence[Target], expected: Sequence[Expected]) -> list[str]:
    """Say which of the expected targets are not up, one line each."""
    by_job: dict[str, list[Target]] = defaultdict(list)
    for target in found:
        by_job[target.labels["job"]].append(target)
    lines: list[str] = []
    for job in expected:
        known = by_job[job.job]
        down = [target for target in known if target.health != "up"]
        lines += [f"{target.name}: {target.last_error or 'not scraped yet'}" for target in down]
        if len(known) < job.targets:
            lines.append(f"{job.job}: {len(known)} of {job.targets} targets found")
    return lines


def alerts_of(cluster: Cluster) -> tuple[Alert, ...]:
    """Return what fires, worst and oldest first. A watchdog that does not bark is an alert itself."""
    query = {"active": "true", "silenced": "false", "inhibited": "false"}
    found = _FIRING.validate_json(_get(cluster, ALERTMANAGER, "/api/v2/alerts", query))
    alerts = [_alert(item) for item in found]
    if not any(alert.name == WATCHDOG for alert in alerts):
        lost = "Prometheus sends no alerts to Alertmanager: nobody would be told of anything"
        alerts.append(Alert(WATCHDOG, "critical", lost, utc_now(), f"{RUNBOOKS}/{WATCHDOG}.md"))
    told = [alert for alert in alerts if alert.severity in _SEVERITIES]
    return tuple(sorted(told, key=lambda alert: (_SEVERITIES.index(alert.severity), alert.since, alert.name)))


def _alert(item: _Firing) -> Alert:
    return Alert(
        name=item.labels.get("alertname", ""),
        severity=item.labels.get("severity", "warning"),
        summary=item.annotations.get("summary", ""),
        since=item.starts_at,
        runbook=item.annotations.get("runbook", ""),
    )


def _check_rules(cluster: Cluster) -> None:
    answer = _RulesAnswer.model_validate_json(_get(cluster, PROMETHEUS, "/api/v1/rules", {}))
    broken = [rule for group in answer.data.groups for rule in group.rules if rule.last_error]
    if broken:
        raise ClusterError(
            "Prometheus cannot evaluate its rules",
            remedy="two targets with the same labels are the usual reason: look at what is named twice below",
            details=tuple(f"{rule.name}: {rule.last_error}" for rule in broken),
        )


def _get(cluster: Cluster, service: str, path: str, query: Mapping[str, str]) -> bytes:
    proxied = f"/api/v1/namespaces/{NAMESPACE}/services/{service}:http/proxy{path}"
    with cluster.open("GET", proxied, query=query) as response:
        return response.read()
