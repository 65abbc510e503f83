"""The shapes of rules, and what may be set about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

type Severity = Literal["critical", "warning", "none"]

RUNBOOKS = "docs/runbooks"


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A query whose result is stored under a name of its own: `level:metric:operations`."""

    record: str
    expr: str

    def document(self) -> dict[str, object]:
        """Return it as Prometheus reads it."""
        return {"record": self.record, "expr": self.expr}


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One alert.

    Attributes:
        name: also of its runbook.
        expr: true, for as long as it returns series.
        seconds: for which it must be true before somebody is told.
        severity: `critical` wakes somebody, `warning` can wait for the morning, `none` is not for people.
        summary: one sentence, with the value.
        keep_seconds: for which it stays firing after it stopped to be true.
    """

    name: str
    expr: str
    seconds: int
    severity: Severity
    summary: str
    keep_seconds: int = 0

    def document(self) -> dict[str, object]:
        """Return it as Prometheus reads it."""
        keep = {"keep_firing_for": f"{self.keep_seconds}s"} if self.keep_seconds else {}
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": f"{self.seconds}s",
            **keep,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "runbook": f"{RUNBOOKS}/{self.name}.md"},
        }


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated one after the other, so that later ones may use earlier ones."""

    name: str
    rules: Sequence[RecordingRule | AlertRule]

    def document(self) -> dict[str, object]:
        """Return it as Prometheus reads it."""
        return {"name": self.name, "rules": [rule.document() for rule in self.rules]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What counts as good enough, and how long something must be bad before somebody is told.

    Attributes:
        availability: share of requests that must not fail.
        ttft_seconds: within which the first token must come; a bound of vLLM's histogram.
        ttft_share: of requests that must have their first token by then.
        queue_per_replica: requests that may wait for one ready replica.
        scrape_timeout: seconds after which Prometheus gives a scrape up.
        alert_seconds: by alert, how long it must be true; others keep their defaults.
    """

    availability: float = 0.999
    ttft_seconds: float = 2.5
    ttft_share: float = 0.95
    queue_per_replica: int = 10
    scrape_timeout: int = 10
    alert_seconds: Mapping[str, int] = field(default_factory=dict)

    def seconds(self, alert: str, default: int) -> int:
        """Return how long an alert must be true."""
        return self.alert_seconds.get(alert, default)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that fires and that nothing else explains.

    Attributes:
        name: of the alert and of its runbook.
        severity: `critical` or `warning`.
        summary: one sentence, with the value.
        since: when it began to fire.
        runbook: path of its page in the documentation.
    """

    name: str
    severity: str
    summary: str
    since: datetime
    runbook: str
