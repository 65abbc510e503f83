"""The push beside an install: its progress is passed on, its failure is an error, and it can be ended."""

import os
import signal
import sys
from pathlib import Path

import pytest

from llmprov.bundle.push import Selection
from llmprov.errors import BundleError
from llmprov.progress import NullProgress
from llmprov.report.tracker import Node, TrackingProgress
from llmprov.runner import Journal
from llmprov.ssh import SshTarget
from llmprov.workflows.phases import Phases
from llmprov.workflows.push_beside import PushBeside
from llmprov.workflows.push_job import PushJob

JOB = PushJob(
    target=SshTarget("192.0.2.1", common_args=("-F", "ssh.cfg")),
    host="cp1",
    port=5001,
    bundle=Path("bundle"),
    selection=Selection(files=True, images=("vllm", "etcd")),
    patience=3.0,
)
PUSHES = """
import json, sys
assert json.load(sys.stdin)["host"] == "cp1"
for done in (1, 2):
    print(json.dumps({"event": "update", "detail": "vllm", "done": done, "total": 2}), file=sys.stderr)
"""
FAILS = """
import sys
print("error: the registry refuses\\n  - blob 12", file=sys.stderr)
sys.exit(5)
"""
WAITS = "import signal, sys; print('up', file=sys.stderr, flush=True); signal.pause()"
DEAF = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
print('up', file=sys.stderr, flush=True)
signal.pause()
"""


def _phases(tmp_path: Path, progress: TrackingProgress | NullProgress) -> Phases:
    return Phases(Journal("run", tmp_path), progress)


class _Seen(TrackingProgress):
    def __init__(self) -> None:
        super().__init__()
        self.positions: list[str] = []

    def on_update(self, node: Node) -> None:
        self.positions.append(f"{node.detail} {node.position}")


def test_its_progress_and_its_time_are_kept(tmp_path: Path) -> None:
    seen = _Seen()
    phases = _phases(tmp_path, seen)
    with PushBeside(JOB, phases, [sys.executable, "-c", PUSHES]) as push:
        push.start()
        push.start()
        push.wait()
    assert seen.positions == ["vllm 1/2", "vllm 2/2"]
    assert [(phase.name, phase.beside) for phase in phases.table] == [("push", True)]


def test_its_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    with PushBeside(JOB, _phases(tmp_path, NullProgress()), [sys.executable, "-c", FAILS]) as push:
        push.start()
        with pytest.raises(BundleError, match="push to the cluster's registry: the registry refuses") as caught:
            push.wait()
    assert caught.value.details == ("- blob 12",)
    assert push.failed.is_set()


@pytest.mark.parametrize("program", [WAITS, DEAF])
def test_leaving_early_ends_it(tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmprov.workflows.push_beside._END_SECONDS", 0.2)
    with PushBeside(JOB, _phases(tmp_path, NullProgress()), [sys.executable, "-c", program]) as push:
        push.start()
        assert push.pid is not None
        os.kill(push.pid, 0)
    assert push.exit_status in (-signal.SIGINT, -signal.SIGKILL, 1)


def test_a_push_that_was_not_begun_is_not_waited_for(tmp_path: Path) -> None:
    with PushBeside(JOB, _phases(tmp_path, NullProgress())) as push:
        push.wait()
    assert push.pid is None


def test_a_job_survives_the_way_to_another_process() -> None:
    assert PushJob.from_json(JOB.to_json()) == JOB
