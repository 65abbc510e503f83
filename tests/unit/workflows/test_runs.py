"""Past runs from their journals: how they ended, what they did, and what of a damaged journal can still be told."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path

import pytest

from llmprov.errors import ExitCode, InstallError, LlmprovError
from llmprov.run_history import Outcome
from llmprov.runner import Journal
from llmprov.runner.journal import runs_dir
from llmprov.workflows import runs

BEGINS = """
    import sys
    from llmprov.runner import Journal
    journal = Journal.create("reset")
    with journal.whole_run("reset"):
        journal.record("result", host="a", stage="base", task="T", status="changed", seconds=1.5)
        print(journal.run_id, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))


def _result(journal: Journal, host: str, task: str, status: str, seconds: float, **more: str) -> None:
    journal.record("result", host=host, stage="base", role="base", task=task, status=status, seconds=seconds, **more)


def _install(error: LlmprovError | None = None) -> Journal:
    journal = Journal.create("install")
    with nullcontext() if error is None else pytest.raises(type(error)):  # noqa: SIM117 - the run ends inside
        with journal.whole_run("install", Path("inventories/rack")):
            journal.record("phase", name="base", started=2.0, seconds=3.0, beside=False)
            journal.record("phase", name="push", started=1.0, seconds=9.0, beside=True)
            _result(journal, "a", "Write", "changed", 2.0)
            _result(journal, "b", "Write", "ok", 4.0)
            _result(journal, "a", "Hide", "ok", 0.5)
            _result(journal, "b", "Skip", "skipped", 0.1)
            _result(journal, "b", "Join", "changed", 7.0, delegated_to="a")
            _result(journal, "a", "Try", "failed", 0.2, message="rescued")
            _result(journal, "b", "Break", "failed", 0.3, message="disk is full")
            journal.record("host", host="a", ok=3, changed=2, skipped=0, failed=0)
            journal.record("host", host="b", ok=2, changed=1, skipped=1, failed=1)
            if error:
                raise error
    return journal


def test_an_ended_run_in_full() -> None:
    journal = _install()
    found = runs.show("last", slowest=2)
    run = found.run
    assert (run.id, run.verb, run.inventory, run.outcome) == (journal.run_id, "install", "inventories/rack", Outcome.OK)
    assert (run.hosts, run.changed, run.problems) == (("a", "b"), 3, ())
    assert [(row.name, row.beside) for row in found.phases] == [("push", True), ("base", False)]
    assert [(c.host, c.ok, c.changed, c.skipped, c.failed) for c in found.counts] == [
        ("a", 2, 1, 0, 1),
        ("b", 2, 1, 1, 1),
    ]
    assert [row.seconds for row in found.counts] == pytest.approx([2.7, 11.4])
    assert [(task.host, task.message) for task in found.failures] == [("b", "disk is full")]
    assert [(row.host, row.count, row.changed) for row in found.delegated] == [("a", 1, 1)]
    assert [(task.task, task.host) for task in found.slowest] == [("Join", "b"), ("Write", "b")]


def test_a_failed_run_says_why() -> None:
    _install(InstallError("install failed on 1 host: b"))
    run = runs.runs()[0]
    assert (run.outcome, run.message) == (Outcome.FAILED, "install failed on 1 host: b")


def test_a_run_without_an_end_runs_or_was_killed() -> None:
    command = [sys.executable, "-c", textwrap.dedent(BEGINS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        running = runs.show(run_id).run
        process.kill()
        process.wait()
    assert (running.outcome, running.verb, running.changed) == (Outcome.RUNNING, "reset", 1)
    killed = runs.show(run_id).run
    assert killed.outcome is Outcome.KILLED
    assert killed.seconds < 60


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, Outcome.RUNNING),
        ({"process_started": 1}, Outcome.KILLED),
        ({"boot": "an earlier one"}, Outcome.KILLED),
        ({"machine": "another"}, Outcome.UNKNOWN),
        ({"pid": 0}, Outcome.UNKNOWN),
    ],
)
def test_only_a_process_that_can_be_seen_runs(changes: dict[str, str | int], outcome: Outcome) -> None:
    journal = Journal.create("install")
    with journal.whole_run("install"):
        start = json.loads(journal.path.read_text())
    assert start["pid"] == os.getpid()
    journal.path.write_text(json.dumps(start | changes) + "\n")
    assert runs.show("last").run.outcome is outcome


def test_the_newest_comes_first() -> None:
    for run_id in ("20260101T000000Z-install-aa0001", "20260103T000000Z-reset-aa0002", "20260102T000000Z-x-aa0003"):
        directory = runs_dir() / run_id
        directory.mkdir(parents=True)
        Journal(run_id, directory).record("play", stage="base", play="P")
    assert [run.id[:8] for run in runs.runs()] == ["20260103", "20260102", "20260101"]
    assert [run.verb for run in runs.runs()] == ["reset", "x", "install"]


def test_a_beginning_of_an_id_is_enough_if_it_is_the_only_one() -> None:
    first, second = Journal.create("install"), Journal.create("install")
    for journal in (first, second):
        with journal.whole_run("install"):
            pass
    assert runs.show(first.run_id).run.id == first.run_id
    assert runs.show(first.run_id[:-1]).run.id == first.run_id
    with pytest.raises(LlmprovError, match="2 runs begin with '20'") as caught:
        runs.show("20")
    assert set(caught.value.details) == {first.run_id, second.run_id}
    with pytest.raises(LlmprovError, match="there is no run 1999") as caught:
        runs.show("1999")
    assert caught.value.exit_code is ExitCode.USAGE
    assert "llmprov runs" in caught.value.remedy


def test_no_runs() -> None:
    assert runs.runs() == ()
    with pytest.raises(LlmprovError, match="there are no runs in"):
        runs.show("last")


def test_a_broken_line_is_named_and_the_rest_shown() -> None:
    journal = _install()
    lines = journal.path.read_text().splitlines()
    lines[3] = lines[3][:20]
    lines[5] = '{"event": "result"}'
    journal.path.write_text("\n".join(lines) + '\n{"event": "cut sho')
    found = runs.show("last")
    assert [problem.partition(":")[0] for problem in found.run.problems] == [
        "line 4 cannot be read",
        "line 6 cannot be read",
    ]
    assert found.run.outcome is Outcome.OK
    assert [task.message for task in found.failures] == ["disk is full"]


def test_a_journal_whose_first_line_is_broken_has_a_verb_and_a_time() -> None:
    journal = _install()
    directory = runs_dir() / "20260131T090000Z-install-1a2b3c"
    shutil.copytree(journal.directory, directory)
    directory.joinpath("journal.jsonl").write_text("}{\n")
    run = runs.show("20260131").run
    assert (run.verb, f"{run.began:%H:%M}", run.outcome) == ("install", "09:00", Outcome.UNKNOWN)
    assert len(run.problems) == 1
