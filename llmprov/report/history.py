"""Past runs: the list, and one run in full."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from llmprov.report.console import err, out
from llmprov.run_history import Outcome, Run, RunDetails, TaskRow

_STYLES = {Outcome.OK: "green", Outcome.RUNNING: "cyan", Outcome.UNKNOWN: "yellow"}
_BAD = "red"


def print_runs(runs: Sequence[Run], *, as_json: bool) -> None:
    """Print the list, the newest first."""
    if as_json:
        out.print_json(json.dumps([run_json(run) for run in runs]))
        return
    if not runs:
        err.print("no runs yet")
        return
    table = _table("run", "began (UTC)", "seconds", "hosts", "changed", "ended", right=(2, 3, 4))
    # An id that was cut short could not be given back.
    table.columns[0].min_width = max(len(run.id) for run in runs)
    for run in runs:
        began = f"{run.began:%Y-%m-%d %H:%M:%S}"
        table.add_row(run.id, began, f"{run.seconds:.1f}", str(len(run.hosts)), str(run.changed), _ended(run))
    out.print(table)


def print_run(found: RunDetails, *, as_json: bool) -> None:
    """Print one run."""
    if as_json:
        out.print_json(json.dumps(details_json(found)))
        return
    run = found.run
    of = f" of {escape(run.inventory)}" if run.inventory else ""
    out.print(f"[bold]{escape(run.id)}[/]: {escape(run.verb)}{of}, began {run.began:%Y-%m-%d %H:%M:%S} UTC")
    out.print(f"{_ended(run)}, {run.seconds:.1f} s, {run.changed} changes, hosts: {len(run.hosts)}")
    for problem in run.problems:
        out.print(f"[yellow]journal:[/] {escape(problem)}")
    for task in found.failures:
        out.print(f"[{_BAD}]{escape(task.status)}[/] {escape(_place(task))}: {escape(task.message)}")
    for table in (_phases(found), _counts(found), _delegated(found), _slowest(found)):
        if table.row_count:
            out.print()
            out.print(table)
    out.print()
    out.print(f"journal {escape(str(run.journal))}")


def run_json(run: Run) -> dict[str, object]:
    """Return an entry of what `llmprov runs --json` prints."""
    return {
        "id": run.id,
        "verb": run.verb,
        "inventory": run.inventory or None,
        "began": run.began.isoformat(timespec="milliseconds"),
        "outcome": str(run.outcome),
        "message": run.message or None,
        "seconds": round(run.seconds, 3),
        "hosts": list(run.hosts),
        "changed": run.changed,
        "journal": str(run.journal),
        "problems": list(run.problems),
    }


def details_json(found: RunDetails) -> dict[str, object]:
    """Return what `llmprov runs show --json` prints."""
    return {
        **run_json(found.run),
        "phases": [asdict(row) for row in found.phases],
        "counts": [{**asdict(row), "seconds": round(row.seconds, 3)} for row in found.counts],
        "failures": [asdict(row) for row in found.failures],
        "delegated": [{**asdict(row), "seconds": round(row.seconds, 3)} for row in found.delegated],
        "slowest": [asdict(row) for row in found.slowest],
    }


def _ended(run: Run) -> str:
    word = f"[{_STYLES.get(run.outcome, _BAD)}]{run.outcome}[/]"
    said = run.message.partition("\n")[0]
    return f"{word}: {escape(said)}" if said else word


def _phases(found: RunDetails) -> Table:
    table = _table("phase", "began", "seconds", "", right=(1, 2))
    for row in found.phases:
        table.add_row(escape(row.name), f"{row.started:.1f}", f"{row.seconds:.1f}", "beside" if row.beside else "")
    return table


def _counts(found: RunDetails) -> Table:
    table = _table("stage", "host", "ok", "changed", "skipped", "failed", "seconds", right=(2, 3, 4, 5, 6))
    for row in found.counts:
        numbers = (str(number) for number in (row.ok, row.changed, row.skipped, row.failed))
        table.add_row(escape(row.stage or "-"), escape(row.host), *numbers, f"{row.seconds:.1f}")
    return table


def _delegated(found: RunDetails) -> Table:
    table = _table("for others, on", "tasks", "changed", "seconds", right=(1, 2, 3))
    for row in found.delegated:
        table.add_row(escape(row.host), str(row.count), str(row.changed), f"{row.seconds:.1f}")
    return table


def _slowest(found: RunDetails) -> Table:
    table = _table("slowest tasks", "host", "stage", "status", "seconds", right=(4,))
    for task in found.slowest:
        on = f"{task.host} on {task.delegated_to}" if task.delegated_to else task.host
        row = (escape(task.task), escape(on), escape(task.stage or "-"), task.status, f"{task.seconds:.1f}")
        table.add_row(*row)
    return table


def _place(task: TaskRow) -> str:
    stage = f"stage {task.stage}, " if task.stage else ""
    return f"{task.host} ({stage}task {task.task!r})"


def _table(*columns: str, right: Sequence[int]) -> Table:
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for number in right:
        table.columns[number].justify = "right"
    return table
