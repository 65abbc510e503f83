"""Checks a bundle directory against itself: every blob hashed, every reference followed, each problem named."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmprov.bundle.lock import CONTROLLER_REF, FILES_REF, BundleLock
from llmprov.bundle.oci import Descriptor, contents, parse_manifest, read_index
from llmprov.bundle.store import Blob, distrust, sha256_of
from llmprov.errors import BundleError
from llmprov.progress import Progress

Problem = Literal["missing", "truncated", "wrong digest", "unreferenced", "not in the index", "not in the lock"]
_FILES = frozenset({FILES_REF, CONTROLLER_REF})


@dataclass(frozen=True, slots=True)
class Finding:
    """One bad file: its path in the bundle, what is wrong, and the artifacts that it belongs to."""

    path: str
    problem: Problem
    detail: str
    artifacts: tuple[str, ...]

    def line(self) -> str:
        """For people."""
        whose = f" ({', '.join(self.artifacts)})" if self.artifacts else ""
        return f"{self.path}: {self.problem}{f': {self.detail}' if self.detail else ''}{whose}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked and what is wrong."""

    directory: Path
    blobs: int
    bytes: int
    findings: tuple[Finding, ...]


def verify_bundle(directory: Path, progress: Progress) -> Report:
    """Check everything that the lock and the index name.

    Raises:
        BundleError: there is no bundle, or its lock or index cannot be read at all.
    """
    lock = BundleLock.load(directory)
    index = read_index(directory).manifests
    expected: dict[str, Blob] = {}
    owners: dict[str, set[str]] = {}
    findings = list(_index_findings(lock, index))
    _expect_locked(lock, expected, owners)
    for item in index:
        findings += _expect_reachable(directory, item, expected, owners)
    findings += _hash_all(directory, expected, owners, progress)
    findings += _unreferenced(directory, expected)
    total = sum(blob.size for blob in expected.values())
    return Report(directory, len(expected), total, tuple(sorted(findings, key=lambda item: (item.path, item.problem))))


def blob_path(digest: str) -> str:
    """The path of a blob in a bundle."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _index_findings(lock: BundleLock, index: tuple[Descriptor, ...]) -> Iterable[Finding]:
    in_index = {item.digest: item.ref or "" for item in index}
    in_lock = {image.digest: image.name for image in lock.images}
    for digest, name in in_lock.items():
        if digest not in in_index:
            yield Finding("index.json", "not in the index", digest, (name,))
    for digest, ref in in_index.items():
        if digest not in in_lock and ref not in _FILES:
            yield Finding("index.json", "not in the lock", digest, (ref,))


def _expect_locked(lock: BundleLock, expected: dict[str, Blob], owners: dict[str, set[str]]) -> None:
    for item in lock.artifacts:
        owners.setdefault(item.sha256, set()).add(f"{item.name} {item.suite}" if item.suite else item.name)
        if item.kind != "image":
            expected[item.sha256] = Blob(item.sha256, item.size)


def _expect_reachable(
    directory: Path, item: Descriptor, expected: dict[str, Blob], owners: dict[str, set[str]]
) -> list[Finding]:
    """Note what a manifest reaches; one that cannot be read is found bad when it is hashed."""
    name = item.ref or item.digest
    expected[item.blob.sha256] = item.blob
    try:
        manifest = parse_manifest((directory / blob_path(item.digest)).read_bytes(), name)
    except (OSError, BundleError):
        owners.setdefault(item.blob.sha256, set()).add(name)
        return []
    for part in contents(item, manifest):
        expected[part.blob.sha256] = part.blob
        if item.ref not in _FILES or part.digest == item.digest:
            owners.setdefault(part.blob.sha256, set()).add(name)
    return []


def _hash_all(
    directory: Path, expected: dict[str, Blob], owners: dict[str, set[str]], progress: Progress
) -> list[Finding]:
    """Hash every blob on all cores, the largest first."""
    blobs = sorted(expected.values(), key=lambda blob: -blob.size)
    total, done = sum(blob.size for blob in blobs), 0
    findings: list[Finding] = []
    with progress.step("verify", str(directory)) as step, ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda blob: _check_blob(directory, blob, tuple(sorted(owners.get(blob.sha256, ())))), blobs)
        for blob, finding in zip(blobs, results, strict=True):
            done += blob.size
            step.update(done=done, total=total)
            findings += [finding] if finding else []
    return findings


def _check_blob(directory: Path, blob: Blob, owners: tuple[str, ...]) -> Finding | None:
    relative = blob_path(blob.sha256)
    path = directory / relative
    try:
        size = path.stat().st_size
        if size < blob.size:
            distrust(path)
            return Finding(relative, "truncated", f"{size} of {blob.size} bytes", owners)
        found = sha256_of(path)
    except FileNotFoundError:
        return Finding(relative, "missing", "", owners)
    except OSError as error:
        return Finding(relative, "missing", f"cannot be read: {error.strerror}", owners)
    if found != blob:
        distrust(path)
        return Finding(relative, "wrong digest", f"sha256 is {found.sha256}", owners)
    return None


def _unreferenced(directory: Path, expected: dict[str, Blob]) -> Iterable[Finding]:
    blobs = directory / "blobs" / "sha256"
    for path in blobs.iterdir() if blobs.is_dir() else ():
        if path.name not in expected:
            yield Finding(f"blobs/sha256/{path.name}", "unreferenced", "", ())
