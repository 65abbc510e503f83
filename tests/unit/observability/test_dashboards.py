"""The dashboards as reviewed files. `LLMPROV_UPDATE_GOLDEN=1 pytest tests/unit/observability` writes them anew."""

import json
from typing import Any

import pytest

from llmprov.observability.dashboards import BOARDS, dashboards
from tests.golden.review import reviewed

NAMES = sorted(dashboards())
COLUMNS = 24


def load(name: str) -> Any:  # noqa: ANN401 - Grafana's document
    return json.loads(dashboards()[name])


def panels(name: str) -> list[Any]:
    return [panel for panel in load(name)["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("name", NAMES)
def test_dashboard_is_the_reviewed_one(name: str) -> None:
    reviewed(f"dashboards/{name}.json", dashboards()[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_asks_prometheus_and_fits(name: str) -> None:
    for panel in panels(name):
        assert panel["datasource"]["uid"] == "prometheus"
        assert panel["targets"]
        assert all(target["expr"] for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS


@pytest.mark.parametrize("name", NAMES)
def test_no_two_panels_lie_on_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in load(name)["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_titles_and_identifiers_are_unique() -> None:
    documents = [load(name) for name in NAMES]
    assert len({document["uid"] for document in documents}) == len(documents)
    for board in BOARDS:
        titles = [panel.title for row in board.rows for panel in row.panels]
        assert len(set(titles)) == len(titles)


def test_only_a_dashboard_with_the_variable_uses_it() -> None:
    for board in BOARDS:
        uses = any("$model" in query.expr for row in board.rows for panel in row.panels for query in panel.queries)
        assert uses == board.per_model
        assert bool(load(board.name).get("templating", {}).get("list")) == board.per_model
