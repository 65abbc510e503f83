"""Tables and JSON of the bundle verbs."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from llmprov.bundle.assemble import BuildResult
from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.bundle.push import PushReport
from llmprov.bundle.verify import Report
from llmprov.report.console import out

_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000


def print_build(result: BuildResult, *, as_json: bool) -> None:
    """Print where the bundle is and what is in it, in one line."""
    lock = result.lock
    if as_json:
        out.print_json(
            json.dumps(
                {
                    "bundle": str(result.directory),
                    "catalog": lock.catalog,
                    "artifacts": len(lock.artifacts),
                    "bytes": lock.size,
                    "seconds": round(result.seconds, 2),
                }
            )
        )
        return
    out.print(Text(f"{result.directory}: {_summary(lock)} in {result.seconds:.1f} s"))


def print_lock(directory: Path, lock: BundleLock, *, as_json: bool) -> None:
    """Print every artifact; packages are a table of their own when people read it."""
    if as_json:
        out.print_json(lock.model_dump_json(by_alias=True, exclude_none=True))
        return
    out.print(_table("files and images", [*lock.files, *lock.images]))
    for suite in lock.suites:
        debs = lock.debs(suite)
        out.print(Text(f"packages for {suite}: {len(debs)}, {size(sum(item.size for item in debs))}; see --json"))
    out.print(Text(f"{directory}: {_summary(lock)}, catalog {lock.catalog}, built {lock.created}"))


def print_verified(report: Report, *, as_json: bool) -> None:
    """Print the result of a check; findings of a bad bundle are an error's details unless as JSON."""
    if as_json:
        findings = [asdict(finding) for finding in report.findings]
        out.print_json(
            json.dumps(
                {
                    "bundle": str(report.directory),
                    "ok": not findings,
                    "blobs": report.blobs,
                    "bytes": report.bytes,
                    "findings": findings,
                }
            )
        )
        return
    out.print(Text(f"{report.directory}: {report.blobs} blobs, {size(report.bytes)}, all good"))


def print_push(report: PushReport, *, as_json: bool) -> None:
    """Print what was pushed and what the registry had."""
    pushed = [item for item in report.items if item.state == "pushed"]
    if as_json:
        document = asdict(report) | {"pushed": len(pushed), "seconds": round(report.seconds, 2)}
        out.print_json(json.dumps(document))
        return
    for item in pushed:
        out.print(Text(f"pushed {item.ref}  {size(item.size)}"))
    present = len(report.items) - len(pushed)
    out.print(
        Text(f"{len(pushed)} pushed ({size(report.sent)} sent), {present} present already, {report.seconds:.1f} s")
    )


def size(count: float) -> str:
    """Bytes as people read them, in powers of 1000."""
    for unit in _UNITS[:-1]:
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} {_UNITS[-1]}"


def _summary(lock: BundleLock) -> str:
    debs = len(lock.artifacts) - len(lock.files) - len(lock.images)
    return f"{len(lock.files)} files, {len(lock.images)} images, {debs} packages, {size(lock.size)}"


def _table(title: str, artifacts: Iterable[LockedArtifact]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("name", "kind", "version", "size", "licence", "sha256", "source"):
        table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
    for item in artifacts:
        cells = (item.name, item.kind, item.version, size(item.size), item.licence, item.sha256[:12], item.source)
        table.add_row(*(Text(cell) for cell in cells))
    return table
