"""Which metrics the rules and dashboards ask for."""

import re
from collections.abc import Iterator

from llmprov.observability.dashboards import BOARDS
from llmprov.observability.rules import rule_groups
from llmprov.observability.values import Objectives

_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_MATCHERS = re.compile(r"\{[^{}]*\}")
_LABELS = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^()]*\)")
_RANGE = re.compile(r"\[[^\[\]]*\]")
_NAME = re.compile(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)(?!\s*\()(?![\w:])")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})
JOBS = ("node-exporter", "coredns")


def names_in(expr: str) -> frozenset[str]:
    """Return the metric names of a PromQL expression."""
    bare = _RANGE.sub("", _MATCHERS.sub("", _STRING.sub("", expr)))
    found = _NAME.findall(_LABELS.sub("", bare))
    return frozenset(name for name in found if name not in _WORDS)


def rule_expressions() -> Iterator[str]:
    """Yield the expressions of all rules."""
    for group in rule_groups(Objectives(), JOBS):
        for rule in group.rules:
            yield rule.expr


def panel_expressions(*, gpu_only: bool) -> Iterator[tuple[str, str]]:
    """Yield the title and expression of every query, with Grafana's variables filled in."""
    for board in BOARDS:
        for row in board.rows:
            for panel in row.panels:
                if bool(panel.gpu_only) is gpu_only:
                    for query in panel.queries:
                        expr = query.expr.replace("$__rate_interval", "1m").replace("$model", ".*")
                        yield f"{board.name}: {panel.title}", expr


def used() -> frozenset[str]:
    """Return the names of all metrics that are asked for."""
    panels = [expr for gpu_only in (False, True) for _, expr in panel_expressions(gpu_only=gpu_only)]
    return frozenset(name for expr in (*rule_expressions(), *panels) for name in names_in(expr))
