"""What llmprov's modules share on a host: hashing, atomic writes, removal that stops at mount points.

Runs on the host's own Python (3.10 or later); the standard library only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

STATE_DIRECTORY = Path("/var/lib/llmprov")
_CHUNK = 1 << 20


def sha256_file(path: Path) -> str | None:
    """Return the hex sha256 of a regular file, or None when there is no such file."""
    if not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def mode_of(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that a reader sees the old or the new content, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".llmprov-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove(path: Path) -> bool:
    """Remove a file or a tree; say whether anything was there.

    A directory that is a mount point is emptied and kept: the mount belongs to whoever made it.
    """
    if path.is_symlink() or path.is_file():
        path.unlink()
        return True
    if not path.is_dir():
        return False
    if path.is_mount():
        removed = [remove(child) for child in path.iterdir()]
        return any(removed)
    if any(below.is_mount() for below in path.rglob("*") if below.is_dir() and not below.is_symlink()):
        for child in path.iterdir():
            remove(child)
        return True
    shutil.rmtree(path)
    return True
