"""Pushes images to the cluster's registry in a process of its own, beside what else an install does."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from llmprov.errors import BundleError
from llmprov.progress import Step
from llmprov.workflows.phases import Phases
from llmprov.workflows.push_job import PushJob

_END_SECONDS = 20.0


PUSH = (sys.executable, "-m", "llmprov.cli.push_job")
"""Reads a `PushJob` from its standard input; progress and errors go to standard error."""


class PushBeside:
    """A push that begins when told and is waited for later; leaving the context ends it.

    A process, not a thread: it can be stopped at once, and its memory goes back when it is done.

    Args:
        job: what to push where.
        phases: gets one phase for it.
        command: the process that does it; by default `PUSH`.

    Attributes:
        failed: set when the push ended without success; who waits for what it brings need not wait any longer.
    """

    def __init__(self, job: PushJob, phases: Phases, command: Sequence[str] | None = None) -> None:
        self.failed = threading.Event()
        self._job = job
        self._command = PUSH if command is None else command
        self._phases = phases
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._lines: deque[str] = deque(maxlen=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End a push that nobody waits for any more."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._thread is not None:
            self._thread.join()

    @property
    def pid(self) -> int | None:
        """Its process, once it was begun."""
        return self._process.pid if self._process else None

    @property
    def exit_status(self) -> int | None:
        """How its process ended, once it has."""
        return self._process.returncode if self._process else None

    def start(self) -> None:
        """Begin, unless it began already."""
        if self._thread is not None:
            return
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LLMPROV_PROGRESS": "json"},
            start_new_session=True,  # Ctrl-C reaches the install, which ends this
        )
        self._thread = threading.Thread(target=self._follow, args=(self._process,), name="push", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it was begun and has not ended."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, check: Callable[[], None] = lambda: None) -> None:
        """Wait for the end of the push; does nothing when it was not begun.

        Args:
            check: called twice a second meanwhile; it raises to end the waiting.

        Raises:
            BundleError: the push failed, with its own words.
        """
        if self._thread is None or self._process is None:
            return
        while self._thread.is_alive():
            check()
            self._thread.join(0.5)  # in pieces, so that Ctrl-C is noticed
        if self._process.returncode != 0:
            words = [line.removeprefix("error: ") for line in self._lines]
            raise BundleError(
                f"push to the cluster's registry: {words[0] if words else 'it gave no message'}",
                details=tuple(words[1:]),
                remedy="run the same command again; what was pushed stays",
            )

    def _follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stderr is not None  # noqa: S101, PT018 - opened with pipes
        with self._phases.phase("push", beside=True) as step, process.stderr as stream:
            with suppress(BrokenPipeError):  # it ended at once, and says why
                process.stdin.write(self._job.to_json())
                process.stdin.close()
            for line in stream:
                self._line(line, step)
            if process.wait() != 0:
                self.failed.set()

    def _line(self, line: str, step: Step) -> None:
        event = _progress_event(line)
        if event is None:
            self._lines.append(line.strip())
        elif event.get("event") == "update":
            done, total = event.get("done"), event.get("total")
            step.update(
                str(event.get("detail", "")),
                done=done if isinstance(done, int) else None,
                total=total if isinstance(total, int) else None,
            )


def _progress_event(line: str) -> dict[str, object] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
