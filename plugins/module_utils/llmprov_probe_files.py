"""How the files that stages manage look now: their sha256, and a diff against the copy that was kept of text files.

Runs on the host's own Python (3.10 or later); the standard library only.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import itertools
import json
import os
import re
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ansible.module_utils.llmprov_host import sha256_file, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

COPIES = "var/lib/llmprov/managed"
MEMORY = "run/llmprov-probe.json"
LARGEST_TEXT = 64 << 10
"""Bytes of a file that is kept as a copy, or shown as a diff."""
_MOST_LINES = 200
# Smaller files are hashed each time; it is programs of 100 MB that take long.
_REMEMBERED_SIZE = 1 << 20
# A file may be written twice within one tick of the clock that its times are taken from.
_SETTLED_NS = 2_000_000_000
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def file_states(wanted: dict[str, str], root: Path, *, diff: bool) -> dict[str, dict[str, Any]]:
    """Return `sha256` (None for what is no regular file any more) and `difference` of each file, by path.

    Args:
        wanted: recorded sha256 of each file, by absolute path.
        root: where they are looked for.
        diff: whether to say how a text file differs.
    """
    memory = _Memory(root / MEMORY)
    paths = {name: root / name.lstrip("/") for name in wanted}
    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing releases the interpreter's lock
        digests = dict(zip(paths, pool.map(memory.sha256, paths.values()), strict=True))
    memory.save()
    return {
        name: {
            "sha256": digests[name],
            "difference": difference(paths[name], wanted[name], root)
            if diff and digests[name] not in (None, wanted[name])
            else "",
        }
        for name in paths
    }


def is_shown(path: Path) -> bool:
    """Say whether the content of a file may be kept and shown: a small one that every user of the host may read."""
    status = path.stat()
    return stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_TEXT and bool(status.st_mode & stat.S_IROTH)


def difference(path: Path, recorded: str, root: Path) -> str:
    """Return a unified diff from the copy that was kept to the file; empty where there is no copy, or no text."""
    copy = root / COPIES / recorded
    if not _DIGEST.fullmatch(recorded) or not copy.is_file() or not is_shown(path):
        return ""
    try:
        before, after = (item.read_bytes().decode().splitlines() for item in (copy, path))
    except UnicodeDecodeError:
        return ""
    lines = difflib.unified_diff(before, after, "as written", "now", lineterm="")
    shown = list(itertools.islice(lines, _MOST_LINES))
    more = sum(1 for _ in lines)
    return "\n".join([*shown[: _MOST_LINES - 1], f"… {more + 1} more lines"] if more else shown)


class _Memory:
    """Digests of large files by what changes whenever the file does; kept until the next boot.

    The time of the last change of the inode is part of that, and no user can set it back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._load()
        self._now: dict[str, list[Any]] = {}

    def sha256(self, path: Path) -> str | None:
        """Return the sha256 of a regular file, or None when there is no such file."""
        try:
            status = path.stat()
        except OSError as error:
            if error.errno in _NO_FILE:
                return None
            raise
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size < _REMEMBERED_SIZE:
            now: str | None = sha256_file(path)
            return now
        key = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
        known = self._known.get(str(path), [])
        # The status is from before the reading: a change during it is seen next time.
        digest = str(known[-1]) if known[:-1] == key else sha256_file(path)
        if time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
            self._now[str(path)] = [*key, digest]
        return digest

    def save(self) -> None:
        """Remember; a host where that cannot be done is slower, and right all the same."""
        if self._now != self._known:
            with contextlib.suppress(OSError):
                write_atomically(self._path, json.dumps(self._now).encode(), 0o600)

    def _load(self) -> dict[str, list[Any]]:
        """Return what was remembered; only root's own word counts."""
        try:
            with self._path.open(encoding="utf-8") as stream:
                status = os.fstat(stream.fileno())
                if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != 0o600:  # noqa: PLR2004
                    return {}
                known = json.load(stream)
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}
