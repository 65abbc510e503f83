"""The install workflow up to Ready nodes, with real playbooks on this machine."""

import json
from pathlib import Path

import pytest

from llmprov.errors import BundleError, InstallError, InventoryError, PreflightError
from llmprov.preflight import Finding, PreflightReport, Severity
from llmprov.progress import NullProgress
from llmprov.report import install as report
from llmprov.report.tracker import Node, TrackingProgress
from llmprov.runner.journal import read
from llmprov.workflows import preflight
from llmprov.workflows.install import Request, install
from llmprov.workflows.reset import load, reset

pytestmark = pytest.mark.usefixtures("operator")


def _journal(tmp_path: Path) -> list[dict[str, object]]:
    return list(read(next((tmp_path / "state" / "runs").glob("*/journal.jsonl"))))


class _Names(TrackingProgress):
    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[str, bool]] = []
        self.notes: list[str] = []

    def on_end(self, node: Node) -> None:
        self.ended.append((node.name, node.failed))

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_the_first_run_changes_and_the_second_does_not(inventory: Path, target: Path) -> None:
    request = Request(inventory=inventory, until="worker", preflight=False)
    first = install(request, NullProgress())
    assert {outcome.host: outcome.changed for outcome in first.hosts.hosts} == {"cp1": 1, "gpu1": 1}
    assert sorted(path.name for path in target.iterdir()) == ["cp1", "gpu1"]
    assert [phase.name for phase in first.phases if not phase.beside] == [
        "inventory",
        "bundle",
        "survey",
        "base",
        "registry",
        "worker",
    ]
    assert sorted(first.changes) == ["cp1: Touch a file", "gpu1: Touch a file"]
    assert install(request, NullProgress()).hosts.changed == 0


def test_until_and_limit_leave_the_rest_out(inventory: Path, target: Path) -> None:
    result = install(Request(inventory=inventory, until="base", limit="gpu1", preflight=False), NullProgress())
    assert [outcome.host for outcome in result.hosts.hosts] == ["gpu1"]
    assert [phase.name for phase in result.phases] == ["inventory", "bundle", "survey", "base"]
    assert [path.name for path in target.iterdir()] == ["gpu1"]
    assert result.objects is None


def test_check_changes_nothing_and_says_what_would_change(
    inventory: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = install(Request(inventory=inventory, check=True, preflight=False), NullProgress())
    assert list(target.iterdir()) == []
    assert result.objects is None
    report.print_install(result, as_json=False)
    assert "would change cp1: Touch a file" in capsys.readouterr().out


def test_hosts_and_stages_are_shown_and_failures_marked(inventory: Path, tmp_path: Path) -> None:
    (inventory / "group_vars").mkdir()
    (inventory / "group_vars" / "all.yml").write_text("x_break_registry: true\n", encoding="utf-8")
    shown = _Names()
    with pytest.raises(InstallError) as caught:
        install(Request(inventory=inventory, until="worker", preflight=False), shown)
    assert caught.value.details == ("cp1 (stage registry, task 'Break when told'): no space left on /var/lib",)
    assert ("cp1 base", False) in shown.ended
    assert ("cp1 registry", True) in shown.ended
    last = _journal(tmp_path)[-1]
    assert (last["event"], last["ok"]) == ("end", False)


SWAP = Finding("gpu1", "swap", "swap /dev/sda2 is on", "nothing to do", Severity.WARNING)
FULL = Finding("cp1", "disk", "/var has 1 GiB left", "make room")


def test_warnings_of_preflight_are_said_and_kept(
    inventory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "run", lambda *_, **__: PreflightReport(("cp1", "gpu1"), (SWAP,)))
    shown = _Names()
    result = install(Request(inventory=inventory, until="base"), shown)
    assert SWAP.line in shown.notes
    assert SWAP.line in result.warnings
    report.print_install(result, as_json=True)
    assert SWAP.line in json.loads(capsys.readouterr().out)["warnings"]


def test_warnings_of_preflight_are_said_when_errors_end_the_install(
    inventory: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "run", lambda *_, **__: PreflightReport(("cp1", "gpu1"), (SWAP, FULL)))
    shown = _Names()
    with pytest.raises(PreflightError, match="1 error on cp1"):
        install(Request(inventory=inventory, until="base"), shown)
    assert SWAP.line in shown.notes
    assert list(target.iterdir()) == []


def test_a_bad_inventory_ends_before_any_host(tmp_path: Path) -> None:
    with pytest.raises(InventoryError):
        install(Request(inventory=tmp_path / "nowhere"), NullProgress())


def test_a_damaged_bundle_ends_before_any_host(inventory: Path, bundle: Path, target: Path) -> None:
    (bundle / "bundle.lock.json").unlink()
    with pytest.raises(BundleError, match="no bundle"):
        install(Request(inventory=inventory, until="base", preflight=False), NullProgress())
    assert list(target.iterdir()) == []


def test_json_holds_hosts_phases_and_journal(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = install(Request(inventory=inventory, until="base", preflight=False), NullProgress())
    report.print_install(result, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["hosts"]["cp1"]["changed"] == 1
    assert [phase["name"] for phase in document["phases"]] == ["inventory", "bundle", "survey", "base"]
    assert Path(document["journal"]).is_file()
    report.print_install(result, as_json=False)
    text = capsys.readouterr().out
    assert "whole run" in text
    assert "2 changes on hosts" in text


def test_reset_undoes(inventory: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(Request(inventory=inventory, until="base", preflight=False), NullProgress())
    result = reset(load(inventory), NullProgress(), limit="gpu1")
    assert [path.name for path in target.iterdir()] == ["cp1"]
    report.print_reset(result, as_json=False)
    assert "1 hosts are bare again" in capsys.readouterr().out
    report.print_reset(result, as_json=True)
    assert json.loads(capsys.readouterr().out)["hosts"]["gpu1"]["changed"] == 1
