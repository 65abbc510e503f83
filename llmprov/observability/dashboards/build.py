"""Turns boards into Grafana's JSON with Grafana's own SDK."""

import json

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable
from grafana_foundation_sdk.builders.dashboard import Row as GrafanaRow
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

from llmprov.observability.dashboards.values import Board, Panel, Query

_SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
_SPANS = {"graph": 8, "stat": 4}
_HEIGHTS = {"graph": 8, "stat": 4}


def to_json(board: Board) -> str:
    """Return a dashboard as Grafana reads it."""
    builder = (
        Dashboard(board.title)
        .uid(f"llmprov-{board.name}")
        .description(board.description)
        .tags(["llmprov"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
    )
    if board.per_model:
        builder = builder.with_variable(_model_variable())
    for row in board.rows:
        builder = builder.with_row(GrafanaRow(row.title))
        for panel in row.panels:
            builder = builder.with_panel(_stat(panel) if panel.kind == "stat" else _graph(panel))
    return json.dumps(builder.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _model_variable() -> QueryVariable:
    return (
        QueryVariable("model")
        .label("model")
        .query("label_values(model:replicas:count, model)")
        .datasource(_SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(multi=True)
        .include_all(include_all=True)
    )


def _graph(panel: Panel) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    builder = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .min(0)
        .fill_opacity(8)
        .legend(legend)
        .span(_SPANS["graph"])
        .height(_HEIGHTS["graph"])
    )
    for place, query in enumerate(panel.queries):
        builder = builder.with_target(_query(query, place))
    return builder


def _stat(panel: Panel) -> stat.Panel:
    builder = (
        stat.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .span(_SPANS["stat"])
        .height(_HEIGHTS["stat"])
    )
    for place, query in enumerate(panel.queries):
        builder = builder.with_target(_query(query, place))
    return builder


def _query(query: Query, place: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(chr(ord("A") + place)).expr(query.expr).legend_format(query.legend).range()
