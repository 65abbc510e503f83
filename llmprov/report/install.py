"""The end of an install and of a reset: hosts, phases and seconds, the endpoint and how to ask."""

import json

from rich.markup import escape
from rich.table import Table

from llmprov.report.console import out
from llmprov.report.runs import MEGABYTE, hosts_json, hosts_table
from llmprov.results import InstallResult, Objects, Phase, ResetResult


def print_install(report: InstallResult, *, as_json: bool) -> None:
    """Print the result of an install."""
    if as_json:
        out.print_json(json.dumps(install_json(report)))
        return
    out.print(hosts_table(report.hosts))
    if report.check:
        _print_changes(report)
        return
    out.print()
    out.print(_phases_table(report))
    out.print()
    _print_models(report)
    for item in report.set_aside:
        out.print(f"[red]set aside: {escape(item.line)}[/]\n  remedy: {escape(item.remedy)}")
    changed = sum(outcome.changed for outcome in report.hosts.hosts)
    objects = report.objects.changes if report.objects else 0
    out.print(
        f"{changed} changes on hosts, {objects} in the cluster, {report.seconds:.1f} s, "
        f"controller memory {report.hosts.peak_memory / MEGABYTE:.0f} MB, journal {escape(str(report.hosts.journal))}"
    )


def install_json(report: InstallResult) -> dict[str, object]:
    """Return what `--json` prints."""
    return {
        "check": report.check,
        "seconds": round(report.seconds, 2),
        "warnings": list(report.warnings),
        "hosts": hosts_json(report.hosts),
        "changes": list(report.changes),
        "phases": [
            {"name": phase.name, "started": phase.started, "seconds": phase.seconds, "beside": phase.beside}
            for phase in report.phases
        ],
        "pulls": [{"host": item.host, "image": item.image, "seconds": item.seconds} for item in report.pulls],
        "objects": _objects_json(report.objects),
        "set_aside": [{"host": item.host, "problem": item.problem, "remedy": item.remedy} for item in report.set_aside],
        "controller_peak_memory_bytes": report.hosts.peak_memory,
        "journal": str(report.hosts.journal),
    }


def _objects_json(objects: Objects | None) -> dict[str, object] | None:
    if objects is None:
        return None
    return {
        "changes": objects.changes,
        "models": [{"name": model.name, "endpoint": model.endpoint} for model in objects.models],
        "engine_starts": [{"node": start.node, "pod": start.pod, "seconds": start.seconds} for start in objects.starts],
    }


def print_reset(result: ResetResult, *, as_json: bool) -> None:
    """Print the result of a reset."""
    if as_json:
        out.print_json(json.dumps({"seconds": round(result.seconds, 2), "hosts": hosts_json(result.hosts)}))
        return
    out.print(hosts_table(result.hosts))
    out.print(f"{len(result.hosts.hosts)} hosts are bare again, {result.seconds:.1f} s")


def _print_changes(report: InstallResult) -> None:
    out.print()
    for line in report.changes:
        out.print(f"would change {escape(line)}")
    out.print(
        "then, in the cluster: pod network, device plugin, gateway, autoscaling, monitoring, models; "
        "these need a running API to be compared"
    )


def _phases_table(report: InstallResult) -> Table:
    table = Table("phase", "began", "seconds", "", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = table.columns[2].justify = "right"
    for phase in report.phases:
        table.add_row(*_phase_row(phase))
    for pulled in report.pulls:
        table.add_row(f"pull {_short(pulled.image)} on {pulled.host}", "", f"{pulled.seconds:.1f}", "beside")
    if report.objects:
        for start in report.objects.starts:
            shown = "-" if start.seconds is None else f"{start.seconds:.1f}"
            table.add_row(f"engine start on {start.node}", "", shown, "beside")
    table.add_row("whole run", "", f"{report.seconds:.1f}", "", style="bold")
    return table


def _phase_row(phase: Phase) -> tuple[str, str, str, str]:
    return phase.name, f"{phase.started:.1f}", f"{phase.seconds:.1f}", "beside" if phase.beside else ""


def _print_models(report: InstallResult) -> None:
    if report.objects is None:
        return
    for model in report.objects.models:
        out.print(f"[bold]{escape(model.name)}[/] answers at {escape(model.endpoint)} (inside the cluster)")
        out.print(f'ask it: llmprov chat {escape(model.name)} "…" -i {escape(str(report.inventory))}')


def _short(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2]
