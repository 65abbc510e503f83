"""An install under way: its journal is followed as it is written, and it can be ended as a power cut would."""

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from llmprov.lab.tools import wait_until
from llmprov.paths import state_dir
from llmprov.stages import Runner, stage_names
from tests.lab.conftest import Lab
from tests.lab.polling import until
from tests.lab.processes import MARK

type Events = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Moment:
    """A line that an install writes into its journal; on the way of an install, one of `WAY`.

    Attributes:
        event: `result` and `play_end` of a stage of Ansible's, `phase` of one of Python's.
        of: the stage, or the phase.
        host: only of this host.
    """

    event: str
    of: str
    host: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.host, self.of, _WORDS[self.event])))

    def is_in(self, events: Events) -> bool:
        """Whether it has come, or one that lies behind it: a stage may end before anybody has seen it begin."""
        if self.host:
            return any(self == _moment(event, with_host=True) for event in events)
        behind = WAY[WAY.index(self) :]
        return any(_moment(event) in behind for event in events)


_WORDS = {"result": "under way", "play_end": "finished", "phase": "done"}
WAY = (
    *(Moment(event, stage) for stage in stage_names(runner=Runner.ANSIBLE) for event in ("result", "play_end")),
    # All objects are applied before the slow ones are waited for.
    *(Moment("phase", f"apply {station}") for station in ("network", "gpu", "gateway", "autoscaling", "monitoring")),
    *(Moment("phase", phase) for phase in ("gpu", "apply models", "network", "gateway", "autoscaling", "monitoring")),
)
"""An install from bare hosts comes to these moments in this order: in the middle and at the end of each stage."""


def _moment(event: Mapping[str, object], *, with_host: bool = False) -> Moment:
    of = event.get("name") if event["event"] == "phase" else event.get("stage")
    return Moment(str(event["event"]), str(of), str(event.get("host", "")) if with_host else "")


class Live:
    """An install under way; what is left of it when the context ends is ended."""

    def __init__(self, lab: Lab, printed: Path, *arguments: str, inventory: Path | None = None) -> None:
        self._printed = printed
        self._mark = uuid.uuid4().hex
        self._runs = Path(lab.environment.get("LLMPROV_STATE_DIR") or state_dir()) / "runs"
        self._before = self._journals()
        command = [lab.python, "-m", "llmprov", "install", "-i", str(inventory or lab.inventory), *arguments]
        with printed.open("w", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                command,
                env=lab.environment | {MARK: self._mark, "LLMPROV_PROGRESS": "json"},
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind, whatever became of the test."""
        self.cut_power()

    @property
    def printed(self) -> str:
        """What it has said so far."""
        return self._printed.read_text(encoding="utf-8")

    def events(self) -> Events:
        """Return what its journal says so far; a line that is being written is left for later."""
        lines = [
            line for file in self._journals() - self._before for line in file.read_text().splitlines(keepends=True)
        ]
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def await_moment(self, moment: Moment, *, seconds: float = 600) -> None:
        """Wait until a moment has come; fail the test when the install ends before."""
        wait_until(lambda: moment.is_in(self.events()) or self.process.poll() is not None, seconds)
        if not moment.is_in(self.events()):
            pytest.fail(f"no {moment!r}; the install's exit code is {self.process.poll()}\n{self.printed[-3000:]}")

    def cut_power(self) -> None:
        """End every process of it at once, however it detached itself."""

        def gone() -> bool:
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            return not self.pids()

        until(gone, seconds=20, what="the processes of an install to end")
        self.process.wait()

    def pause(self) -> None:
        """Stop every process of it where it is, so that it is at work for as long as a test needs it to be."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def kill_itself(self) -> None:
        """End only llmprov's own process; what it started is left to notice by itself."""
        self.process.kill()
        self.process.wait()

    def pids(self) -> list[int]:
        """Return the processes that belong to it."""
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):  # ended meanwhile
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def _journals(self) -> set[Path]:
        return set(self._runs.glob("*-install-*/journal.jsonl"))
