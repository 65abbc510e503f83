"""The dashboards, as the JSON that Grafana reads."""

from collections.abc import Mapping

from llmprov.observability.dashboards.build import to_json
from llmprov.observability.dashboards.capacity import CAPACITY
from llmprov.observability.dashboards.fleet import FLEET
from llmprov.observability.dashboards.model import MODEL
from llmprov.observability.dashboards.values import Board

BOARDS: tuple[Board, ...] = (FLEET, MODEL, CAPACITY)


def dashboards() -> Mapping[str, str]:
    """Return every dashboard's JSON, by its name."""
    return {board.name: to_json(board) for board in BOARDS}
