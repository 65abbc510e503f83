"""All rules together, as the file that Prometheus reads."""

from collections.abc import Sequence

from llmprov.observability.alerts import alert_groups
from llmprov.observability.recording import recording_groups
from llmprov.observability.values import AlertRule, Objectives, RecordingRule, RuleGroup


def rule_groups(objectives: Objectives, jobs: Sequence[str]) -> tuple[RuleGroup, ...]:
    """Return every group of rules.

    Args:
        objectives: what is good enough.
        jobs: scrape jobs that must have a target.
    """
    return (*recording_groups(objectives), *alert_groups(objectives, jobs))


def rules_document(objectives: Objectives, jobs: Sequence[str]) -> dict[str, object]:
    """Return the rule file's document."""
    return {"groups": [group.document() for group in rule_groups(objectives, jobs)]}


def alerts(objectives: Objectives, jobs: Sequence[str]) -> tuple[AlertRule, ...]:
    """Return the alerts of every group."""
    groups = rule_groups(objectives, jobs)
    return tuple(rule for group in groups for rule in group.rules if isinstance(rule, AlertRule))


def alert_names() -> frozenset[str]:
    """Return the names that settings may use."""
    return frozenset(rule.name for rule in alerts(Objectives(), ()))


def records(objectives: Objectives) -> tuple[RecordingRule, ...]:
    """Return the recording rules of every group."""
    groups = recording_groups(objectives)
    return tuple(rule for group in groups for rule in group.rules if isinstance(rule, RecordingRule))
