"""The preflight report: findings as a table, or as JSON."""

import json
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from llmprov.preflight import PreflightReport, Severity
from llmprov.report.console import out

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}


def print_report(report: PreflightReport, *, as_json: bool) -> None:
    """Print every finding, errors first, and a line that sums up."""
    if as_json:
        out.print_json(json.dumps(_document(report)))
        return
    findings = sorted(report.findings, key=lambda finding: list(Severity).index(finding.severity))
    if findings:
        table = Table(show_edge=False, pad_edge=False)
        for column in ("", "host", "check", "problem", "remedy"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            cells = (finding.host or "(all)", finding.check, finding.problem, finding.remedy)
            table.add_row(f"[{_STYLES[finding.severity]}]{finding.severity}[/]", *map(escape, cells))
        out.print(table, soft_wrap=False)
    out.print(_summary(report))


def _summary(report: PreflightReport) -> str:
    hosts = f"{len(report.hosts)} host{'s' if len(report.hosts) != 1 else ''} in {report.seconds:.1f} s"
    if not report.findings:
        return f"[green]fit for installation[/]: {hosts}, nothing found"
    counts = f"{len(report.errors)} errors, {len(report.warnings)} warnings"
    verdict = "[bold red]not fit for installation[/]" if report.errors else "[green]fit for installation[/]"
    return f"{verdict}: {hosts}, {counts}; nothing was changed"


def _document(report: PreflightReport) -> dict[str, object]:
    return {
        "fit": not report.errors,
        "exit_code": int(report.exit_code),
        "hosts": list(report.hosts),
        "seconds": round(report.seconds, 2),
        "findings": [asdict(finding) for finding in report.findings],
    }
