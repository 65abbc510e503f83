"""Runs on the first control plane, as root, under the host's own Python: one step of the operators' lock.

`python3 -c TEXT DIRECTORY REQUEST` prints one JSON object. The lock is a file in /run. Ages are told by the clock that
counts from the host's boot: the wall clock is set by the very work that the lock protects. Standard library only.
"""

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAME = "lock.json"


class Record(NamedTuple):
    """The lock: its holder as the controller wrote it, since when, and its last sign of life, in seconds of uptime."""

    holder: str
    since: float
    renewed: float


def main() -> None:
    """Answer the request of the command line."""
    directory, request = Path(sys.argv[1]), json.loads(sys.argv[2])
    with exclusive(directory):
        reply = answer(directory / NAME, request)
        if reply["state"] == "free":
            # What else may be there belongs to others.
            with contextlib.suppress(OSError):
                directory.rmdir()
    print(json.dumps(reply))  # noqa: T201 - this is a program of its own


def answer(path: Path, request: dict[str, str]) -> dict[str, object]:
    """Compare and swap; the caller has the directory to itself.

    `request` has `action` (take, renew, release), `holder`, `takeover` (seconds), `evict` (a holder that is known to be
    dead) and, to renew, `boot` of the last answer. The reply's `state` is `mine`, `held`, `lost` or `free`, with the
    `other` holder where there is or was one.
    """
    now, boot = time.clock_gettime(time.CLOCK_BOOTTIME), boot_name()
    found = read(path)
    mine = found is not None and found.holder == request["holder"]
    other = None if found is None or mine else ages(found, now)
    if request["action"] == "release":
        if mine:
            path.unlink()
        return {"state": "free" if mine or found is None else "held", "boot": boot, "other": other}
    if request["action"] == "renew" and not mine and (found is not None or request["boot"] == boot):
        # A lock that is gone though the host did not boot: somebody took it over and has finished meanwhile.
        return {"state": "lost", "boot": boot, "other": other}
    abandoned = found is None or now - found.renewed > float(request["takeover"]) or found.holder == request["evict"]
    if not mine and not abandoned:
        return {"state": "held", "boot": boot, "other": other}
    since = found.since if found is not None and mine else now
    write(path, Record(request["holder"], since, now))
    return {"state": "mine", "boot": boot, "other": other}


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Have the directory to oneself; made when it is not there."""
    while True:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # removed by its last user in between
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # While this one waited, the directory may have been removed, and made again.
            if same(descriptor, directory):
                yield
                return
        finally:
            os.close(descriptor)


def same(descriptor: int, directory: Path) -> bool:
    """Tell whether what is open is what has the name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), directory.stat())
    except FileNotFoundError:
        return False


def read(path: Path) -> Record | None:
    """Read the lock; a file that is not one was not written here, and holds nobody."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Record(str(found["holder"]), float(found["since"]), float(found["renewed"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, record: Record) -> None:
    """Replace the lock as a whole."""
    new = path.with_name("." + path.name)
    new.write_text(json.dumps(record._asdict()), encoding="utf-8")
    new.replace(path)


def ages(found: Record, now: float) -> dict[str, object]:
    """Say who holds a lock, and since how many seconds."""
    return {"holder": found.holder, "held": now - found.since, "silent": now - found.renewed}


def boot_name() -> str:
    """Name the host's boot: the kernel's, and the first process's start, as a container boots without its kernel."""
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    first = Path("/proc/1/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return f"{kernel}/{first}"


if __name__ == "__main__":
    main()
