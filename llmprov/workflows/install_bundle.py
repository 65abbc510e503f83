"""The bundle before an install: whole and unaltered, found out once and remembered until a file changes."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from llmprov import paths
from llmprov.bundle.lock import BundleLock
from llmprov.bundle.verify import verify_bundle
from llmprov.errors import BundleError
from llmprov.progress import Progress

_HARMLESS = frozenset({"unreferenced"})


def require_whole(directory: Path, progress: Progress) -> BundleLock:
    """Load the lock of a bundle whose every file is right.

    Every file is hashed when the bundle is used for the first time or has changed since; otherwise its files' sizes and
    times are compared with those of the last verification.

    Raises:
        BundleError: no bundle, or each bad file.
    """
    lock = BundleLock.load(directory)
    stamp = _stamp(directory)
    record = paths.state_dir() / "verified" / hashlib.sha256(str(directory.resolve()).encode()).hexdigest()
    if record.is_file() and record.read_text(encoding="ascii") == stamp:
        return lock
    report = verify_bundle(directory, progress)
    bad = [finding for finding in report.findings if finding.problem not in _HARMLESS]
    if bad:
        raise BundleError(
            f"the bundle {directory} has {len(bad)} bad file{'s' if len(bad) > 1 else ''}; no host was touched",
            remedy="llmprov bundle build replaces what is bad",
            details=tuple(finding.line() for finding in bad),
        )
    record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    record.write_text(_stamp(directory), encoding="ascii")
    return lock


def _stamp(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(_files(directory)):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns} {status.st_ino}\n".encode())
    return digest.hexdigest()


def _files(directory: Path) -> Iterator[Path]:
    yield from (path for path in directory.iterdir() if path.is_file())
    blobs = directory / "blobs" / "sha256"
    if blobs.is_dir():
        yield from blobs.iterdir()
