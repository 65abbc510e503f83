"""`llmprov runs` as it is typed: the list, one run, and what is wrong with a name."""

import json
import sys
from pathlib import Path

import pytest

from llmprov.cli import main as cli
from llmprov.errors import ExitCode
from llmprov.runner import Journal


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["llmprov", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def journal() -> Journal:
    journal = Journal.create("install")
    with journal.whole_run("install", Path("rack")):
        journal.record("phase", name="base", started=0.5, seconds=3.25, beside=False)
        for number in range(8):
            task = f"Task {number} [x]"
            journal.record("result", host="a", stage="base", task=task, status="changed", seconds=float(number))
    return journal


def test_list_and_show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], journal: Journal) -> None:
    assert run(monkeypatch, "runs") == ExitCode.OK
    listed = capsys.readouterr().out.splitlines()
    assert listed[1].split()[0] == journal.run_id
    assert listed[1].split()[-2:] == ["8", "ok"]
    assert run(monkeypatch, "runs", "show", "last", "--slowest", "2") == ExitCode.OK
    shown = capsys.readouterr().out
    assert "install of rack" in shown
    assert "Task 7 [x]" in shown
    assert "Task 5" not in shown
    assert str(journal.path) in shown


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], journal: Journal) -> None:
    assert run(monkeypatch, "runs", "--json") == ExitCode.OK
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["id"], entry["outcome"], entry["changed"], entry["hosts"]) == (journal.run_id, "ok", 8, ["a"])
    assert run(monkeypatch, "runs", "show", journal.run_id, "--json") == ExitCode.OK
    shown = json.loads(capsys.readouterr().out)
    assert entry.items() <= shown.items()
    assert shown["phases"] == [{"name": "base", "started": 0.5, "seconds": 3.25, "beside": False}]
    assert shown["counts"][0]["changed"] == 8
    assert [task["seconds"] for task in shown["slowest"]] == [7.0, 6.0, 5.0, 4.0, 3.0]


def test_no_runs_yet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "runs") == ExitCode.OK
    assert capsys.readouterr() == ("", "no runs yet\n")
    assert run(monkeypatch, "runs", "show", "last") == ExitCode.USAGE
    assert "remedy: " in capsys.readouterr().err
