"""The preflight report: one finding after the other, or as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape

from llmprov.preflight import Finding, PreflightReport, Severity
from llmprov.report.console import out

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}


def print_report(report: PreflightReport, *, as_json: bool) -> None:
    """Print every finding, errors first, and a line that sums up."""
    if as_json:
        out.print_json(json.dumps(_document(report)))
        return
    findings = sorted(report.findings, key=lambda finding: list(Severity).index(finding.severity))
    for finding in findings:
        out.print(_line(finding))
    out.print(_summary(report))


def _line(finding: Finding) -> str:
    where = escape(finding.host or "all hosts")
    head = f"[{_STYLES[finding.severity]}]{finding.severity}[/] [bold]{where}[/] {finding.check}"
    return f"{head}: {escape(finding.problem)}\n    → {escape(finding.remedy)}"


def _summary(report: PreflightReport) -> str:
    hosts = f"{len(report.hosts)} host{'s' if len(report.hosts) != 1 else ''} in {report.seconds:.1f} s"
    if not report.findings:
        return f"[green]fit for installation[/]: {hosts}, nothing found"
    counts = f"{_count(report.errors, 'error')}, {_count(report.warnings, 'warning')}"
    verdict = "[bold red]not fit for installation[/]" if report.errors else "[green]fit for installation[/]"
    return f"{verdict}: {hosts}, {counts}; nothing was changed"


def _count(findings: Sequence[Finding], word: str) -> str:
    return f"{len(findings)} {word}" if len(findings) == 1 else f"{len(findings)} {word}s"


def _document(report: PreflightReport) -> dict[str, object]:
    return {
        "fit": not report.errors,
        "exit_code": int(report.exit_code),
        "hosts": list(report.hosts),
        "seconds": round(report.seconds, 2),
        "findings": [asdict(finding) for finding in report.findings],
    }
