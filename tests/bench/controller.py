"""What a command costs the controller: seconds, and the memory of all its processes."""

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Ended:
    """A command that has ended; `peak_memory` in bytes, 0 where it was not measured."""

    seconds: float
    returncode: int
    stdout: str
    stderr: str
    peak_memory: int = 0


def run(command: Sequence[str], *, environment: Mapping[str, str] | None = None, codes: Sequence[int] = (0,)) -> Ended:
    """Run a command and time it.

    Args:
        command: with its arguments.
        environment: instead of this process's own.
        codes: exit statuses that are no failure.

    Raises:
        RuntimeError: it ended with another one.
    """
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    ended = Ended(time.perf_counter() - began, done.returncode, done.stdout, done.stderr)
    if ended.returncode not in codes:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}")
    return ended


def peak_memory(command: Sequence[str], *, codes: Sequence[int] = (0,)) -> int:
    """Run a command once more and return the most memory, in bytes, that its processes held at a time.

    Shared pages are counted once (PSS). Processes that detach themselves, as ssh's masters do, are counted too: they
    become children of this process. Timing is another run's, as looking takes time.
    """
    _adopt_orphans(yes=True)
    peak = 0
    ended = threading.Event()

    def look() -> None:
        nonlocal peak
        while not ended.wait(_SAMPLE_SECONDS):
            peak = max(peak, sum(_pss(pid) for pid in _descendants(os.getpid())))

    thread = threading.Thread(target=look, name="memory", daemon=True)
    thread.start()
    try:
        run(command, codes=codes)
    finally:
        ended.set()
        thread.join()
        _adopt_orphans(yes=False)
    return peak


def _adopt_orphans(*, yes: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _descendants(pid: int) -> Iterator[int]:
    for task in _entries(Path(f"/proc/{pid}/task")):
        for child in map(int, _read(task / "children").split()):
            yield child
            yield from _descendants(child)


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:  # ended meanwhile
        return []


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:  # ended meanwhile
        return ""


def _pss(pid: int) -> int:
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
