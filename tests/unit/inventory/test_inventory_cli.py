"""Bad inventories through the command line: one message, a remedy, exit code 3, and no run is started."""

import sys
from pathlib import Path

import pytest

from llmprov.cli.main import main
from tests.unit.inventory.conftest import HOSTS, Write

BAD = [
    ("yaml", {"hosts": "all: [\n"}, "hosts.yml:2:1: YAML error"),
    ("key", {"group_vars": "clutser_name: x\n"}, "did you mean cluster_name?"),
    ("address", {"hosts": HOSTS.replace("10.0.0.22", "10.0.0.21")}, "duplicate address, gpu1 has it too"),
    (
        "control plane",
        {"hosts": "all: {children: {workers: {hosts: {a: {}}}}}"},
        "no control plane",
    ),
    ("name", {"hosts": HOSTS.replace("gpu1", "GPU_1")}, "the host's name is no DNS-1123 name"),
]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs would leave their journals."""
    directory = tmp_path / "state"
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(directory))
    return directory


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line as a shell would; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["llmprov", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize("verb", [("preflight",), ("inventory", "validate"), ("inventory", "show")])
@pytest.mark.parametrize(("files", "expected"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_inventories(
    write: Write,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: tuple[str, ...],
    files: dict[str, str],
    expected: str,
) -> None:
    assert call(monkeypatch, *verb, "-i", str(write(**files))) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: the inventory ")
    assert expected in printed.err
    assert "remedy: correct the lines above" in printed.err
    assert not state.exists()


def test_no_such_inventory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(monkeypatch, "preflight", "-i", str(tmp_path / "nowhere")) == 3
    assert "remedy: name an existing directory or hosts file with -i" in capsys.readouterr().err


def test_an_even_number_of_control_planes_is_said_and_goes_on(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two = HOSTS.replace("cp1: {ansible_host: 10.0.0.11}", "cp1: {ansible_host: 10.0.0.11}\n            cp2: {}")
    assert call(monkeypatch, "inventory", "validate", "-i", str(write(two))) == 0
    printed = capsys.readouterr()
    assert "warning: control_plane: 2 control planes survive no more failures than 1 would" in printed.err
    assert "valid (hosts 4," in printed.out


def test_preflight_without_an_inventory_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "preflight") == 2
    assert "--inventory" in capsys.readouterr().err


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_where_alerts_go_is_not_shown(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: tuple[str, ...]
) -> None:
    receivers = "[{name: ops, slack_configs: [{api_url: 'https://hooks.example.com/hunter2'}]}]"
    settings = (
        f"{{retention_days: 3, webhook: 'https://example.com/hunter2', alertmanager: {{receivers: {receivers}}}}}"
    )
    path = write(group_vars=f"cluster_monitoring: {settings}\n")
    assert call(monkeypatch, "inventory", "show", "-i", str(path), *form) == 0
    printed = capsys.readouterr().out
    assert "retention_days" in printed
    assert "hunter2" not in printed
