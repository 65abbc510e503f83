"""The processes of one run, however they detached themselves.

Mitogen's ssh children and ssh's own connection masters lead sessions of their own, so killing ansible-playbook's
process group leaves them behind. All of them carry the run's private directory in their environment: that is the mark.
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

MARK = "LLMPROV_RUN_DIRECTORY"


class _Pinned:
    """A process held by a descriptor, so that its number cannot come to mean another one."""

    def __init__(self, pid: int) -> None:
        self.descriptor = os.pidfd_open(pid)

    @classmethod
    def open(cls, pid: int, mark: bytes) -> Self | None:
        try:
            pinned = cls(pid)
        except OSError:
            return None
        if _is_marked(pid, mark):
            return pinned
        pinned.close()
        return None

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)

    def wait(self, seconds: float) -> bool:
        return bool(select.select([self.descriptor], [], [], seconds)[0])

    def close(self) -> None:
        os.close(self.descriptor)


def of_run(directory: Path) -> list[int]:
    """Process ids that belong to the run whose private directory this is."""
    return list(_marked(_mark(directory)))


def interrupt(directory: Path, *, seconds: float) -> None:
    """Ask the ansible-playbook that this process started to stop, as Ctrl-C would, and wait for it that long."""
    mark = _mark(directory)
    for pid in of_run(directory):
        if _parent(pid) == os.getpid() and (pinned := _Pinned.open(pid, mark)) is not None:
            with closing(pinned):
                pinned.send(signal.SIGINT)
                pinned.wait(seconds)


def end(directory: Path, *, grace_seconds: float = 3.0) -> int:
    """End what is left of a run: politely first, then for good. Returns how many processes there were."""
    mark = _mark(directory)
    left = of_run(directory)
    for pid in left:
        _signal(pid, mark, signal.SIGTERM)
    for pid in left:
        if (pinned := _Pinned.open(pid, mark)) is not None:
            with closing(pinned):
                if not pinned.wait(grace_seconds):
                    pinned.send(signal.SIGKILL)
                    pinned.wait(grace_seconds)
    return len(left)


def memory(directory: Path) -> int:
    """Bytes of memory that this process and the run's processes hold, shared pages counted once (PSS)."""
    return sum(_pss(pid) for pid in (os.getpid(), *of_run(directory)))


def _signal(pid: int, mark: bytes, number: signal.Signals) -> None:
    if (pinned := _Pinned.open(pid, mark)) is not None:
        with closing(pinned):
            pinned.send(number)


def _marked(mark: bytes) -> Iterator[int]:
    own = os.getpid()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != own and _is_marked(int(entry.name), mark):
            yield int(entry.name)


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _mark(directory: Path) -> bytes:
    return f"{MARK}={directory}".encode()


def _parent(pid: int) -> int:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return 0
    return int(after_name.split()[1])


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
