"""Pushes images to the cluster's registry in a process of its own, beside what else an install does."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from llmprov.errors import BundleError
from llmprov.progress import Step
from llmprov.workflows.phases import Phases

_END_SECONDS = 5.0


def push_command(inventory: Path, bundle: Path, images: Sequence[str]) -> tuple[str, ...]:
    """Return the command that pushes images of the bundle through SSH; empty when there are none."""
    if not images:
        return ()
    command = (sys.executable, "-m", "llmprov", "bundle", "push", "--json")
    only = (part for name in images for part in ("--only", name))
    return (*command, "--inventory", str(inventory.resolve()), "--bundle", str(bundle.resolve()), *only)


class PushBeside:
    """A push that begins when told and is waited for later; leaving the context ends it.

    A process, not a thread: it can be stopped at once, and its memory goes back when it is done.

    Args:
        command: from `push_command`; when it is empty there is nothing to push.
        name: of the phase: `push vllm`.
    """

    def __init__(self, command: Sequence[str], name: str, phases: Phases) -> None:
        self._command = command
        self._name = name
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
        if self._thread is not None or not self._command:
            return
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LLMPROV_PROGRESS": "json"},
            start_new_session=True,  # Ctrl-C reaches the install, which ends this
        )
        self._thread = threading.Thread(target=self._follow, args=(self._process,), name="push", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the end of the push; does nothing when none was begun.

        Raises:
            BundleError: the push failed, with its own words.
        """
        if self._thread is None or self._process is None:
            return
        while self._thread.is_alive():
            self._thread.join(0.5)  # in pieces, so that Ctrl-C is noticed
        if self._process.returncode != 0:
            words = [line.removeprefix("error: ") for line in self._lines]
            raise BundleError(
                f"{self._name}: {words[0] if words else 'it gave no message'}",
                details=tuple(words[1:]),
                remedy="run the same command again; what was pushed stays",
            )

    def _follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None  # noqa: S101 - it was opened with a pipe
        with self._phases.phase(self._name, beside=True) as step, process.stderr as stream:
            for line in stream:
                self._line(line, step)
            process.wait()

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
