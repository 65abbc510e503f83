"""An install under way is followed by its journal, stopped where it is, and ended with all that it started."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmprov.lab.tools import wait_until
from tests.faults.live import Live, Moment
from tests.lab.conftest import Lab

# Journals, leaves a process behind that leads a session of its own, and stays.
_STAND_IN = """\
#!{python} -IS
import os, subprocess, sys, time
directory = os.path.join(os.environ["LLMPROV_STATE_DIR"], "runs", "20260101T000000Z-install-abc")
os.makedirs(directory)
subprocess.Popen(["sleep", "60"], start_new_session=True)
with open(os.path.join(directory, "journal.jsonl"), "w") as journal:
    journal.write('{{"event": "result", "stage": "runtime", "host": "gpu1"}}\\n{{"event": "pl')
print("working", file=sys.stderr, flush=True)
{end}
"""


def _lab(directory: Path, end: str) -> Lab:
    python = directory / "python"
    python.write_text(_STAND_IN.format(python=sys.executable, end=end), encoding="utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return Lab("unit", directory, os.environ | {"LLMPROV_STATE_DIR": str(directory / "state")}, str(python))


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(_lab(tmp_path, "time.sleep(60)"), tmp_path / "printed") as running:
        yield running


def test_the_end_is_that_of_everything(live: Live) -> None:
    live.await_moment(Moment("result", "runtime"), seconds=20)
    assert [event["host"] for event in live.events()] == ["gpu1"]  # and not the line that is being written
    assert len(live.pids()) == 2
    live.cut_power()
    assert live.process.returncode == -signal.SIGKILL
    assert live.pids() == []


def test_its_own_process_can_be_killed_alone(live: Live) -> None:
    live.await_moment(Moment("result", "base"), seconds=20)
    live.kill_itself()
    assert len(live.pids()) == 1


def test_a_pause_holds_every_process(live: Live) -> None:
    live.await_moment(Moment("result", "runtime"), seconds=20)
    live.pause()

    def stopped() -> bool:
        states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in live.pids()]
        return states == ["T", "T"]

    assert wait_until(stopped, 5)


def test_an_install_that_ends_before_the_moment_is_said_to_have(tmp_path: Path) -> None:
    with (
        Live(_lab(tmp_path, "sys.exit(7)"), tmp_path / "printed") as running,
        pytest.raises(pytest.fail.Exception, match="exit code is 7\nworking"),
    ):
        running.await_moment(Moment("result", "worker"), seconds=20)
