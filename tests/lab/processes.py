"""Processes of this machine, lab hosts' among them: their control groups tell whose they are."""

import os
from collections.abc import Iterator
from pathlib import Path

MARK = "LLMPROV_TEST_MARK"
"""An environment variable that everything which a test starts inherits, however it detaches itself."""


def on_host(lab: str, host: str, words: str, file: str = "") -> bool:
    """Whether a host runs a process with these words in its command line, and has a file there (a pattern below /)."""
    group = f"/llmprov-lab/{lab}/{host}/"
    pids = (pid for pid, command in _commands() if words in command and group in f"{_read(pid, 'cgroup')}/")
    return any(not file or any(Path("/proc", pid, "root").glob(file)) for pid in pids)


def marked(mark: str, words: str = "") -> list[str]:
    """Command lines of processes that carry a mark, and these words."""
    wanted = f"{MARK}={mark}"
    return [command for pid, command in _commands() if words in command and wanted in _read(pid, "environ").split("\0")]


def _commands() -> Iterator[tuple[str, str]]:
    own = str(os.getpid())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != own and (command := _read(entry.name, "cmdline")):
            yield entry.name, command.replace("\0", " ").strip()


def _read(pid: str, file: str) -> str:
    try:
        return Path("/proc", pid, file).read_text(encoding="utf-8", errors="replace")
    except OSError:  # ended meanwhile
        return ""
