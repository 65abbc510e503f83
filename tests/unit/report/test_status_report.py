"""What `llmprov status` prints of the whole cluster."""

import json
from datetime import UTC, datetime

import pytest

from llmprov.observability.values import Alert
from llmprov.report.status import print_status
from llmprov.states import HostState, Status

ALERT = Alert("QueueGrowing", "warning", "12 requests wait", datetime(2026, 1, 1, tzinfo=UTC), "docs/runbooks/x.md")
HOSTS = (HostState("cp1", "192.0.2.1", reachable=True, stages=("base",)),)


def test_endpoint_and_alerts_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(Status("lab", "v1.37.2", HOSTS, (), (), "", "https://192.0.2.1:30443/v1", (ALERT,)), as_json=False)
    shown = capsys.readouterr().out
    assert "gateway for clients: https://192.0.2.1:30443/v1" in shown
    assert "QueueGrowing 12 requests wait" in shown


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (Status("lab", "v1", HOSTS, (), ()), "no alert fires"),
        (Status("lab", "v1", HOSTS, (), (), monitoring="Alertmanager is away"), "not known: Alertmanager is away"),
    ],
)
def test_silence_is_not_taken_for_health(status: Status, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_status(status, as_json=False)
    assert line in capsys.readouterr().out


def test_json_has_the_alerts(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(Status("lab", "v1", HOSTS, (), (), alerts=(ALERT,)), as_json=True)
    assert json.loads(capsys.readouterr().out)["alerts"][0]["name"] == "QueueGrowing"
