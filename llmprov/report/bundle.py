"""Tables and JSON of the bundle verbs."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from llmprov.bundle.assemble import BuildResult
from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.bundle.push import PushReport
from llmprov.bundle.units import size
from llmprov.bundle.verify import Report
from llmprov.report.console import out


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
    out.print(_table([*lock.files, *lock.images]))
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


def _summary(lock: BundleLock) -> str:
    debs = len(lock.artifacts) - len(lock.files) - len(lock.images)
    parts = (_count(len(lock.files), "file"), _count(len(lock.images), "image"), _count(debs, "package"))
    return f"{', '.join(parts)}, {size(lock.size)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _table(artifacts: Iterable[LockedArtifact]) -> Text:
    """One artifact a line, whatever the width of the terminal, so that grep works."""
    rows = [("NAME", "KIND", "VERSION", "SIZE", "LICENCE", "SOURCE")]
    rows += [(i.name, i.kind, i.version, size(i.size), i.licence, i.source) for i in artifacts]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return Text("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))
