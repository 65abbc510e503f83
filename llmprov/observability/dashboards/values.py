"""What a dashboard shows, before it becomes Grafana's JSON."""

from dataclasses import dataclass
from typing import Literal

type Unit = Literal["s", "short", "percentunit", "bytes", "reqps", "ops", "celsius", "watt", "none", "dtdurations"]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query and how its series are called: `{{node}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: of the panel.
        unit: of its values, in Grafana's words.
        queries: whose series it shows.
        description: what to read from it.
        kind: `graph` over time, or `stat` for now.
        gpu_only: why the lab has no data for it: no GPUs, or no build of what measures it. Empty for others.
    """

    title: str
    unit: Unit
    queries: tuple[Query, ...]
    description: str = ""
    kind: Literal["graph", "stat"] = "graph"
    gpu_only: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; with `per_model` its panels show the models that are chosen at its top (`$model`)."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    per_model: bool = False
