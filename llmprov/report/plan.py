"""What is to be done: by host and stage, then by object of the cluster."""

import json
from collections.abc import Iterable, Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from llmprov.host_state import Unprobed
from llmprov.plans import FieldChange, ObjectPlan, Plan, StagePlan, Verdict
from llmprov.report.console import out

_STYLES = {
    Verdict.MISSING: "yellow",
    Verdict.CHANGED: "yellow",
    Verdict.DRIFTED: "magenta",
    Verdict.UNHEALTHY: "red",
    Verdict.UNREACHABLE: "red",
}
_SHOWN = 4
_VALUE_LENGTH = 60


def print_plan(plan: Plan, unprobed: Sequence[Unprobed], *, as_json: bool, diff: bool) -> None:
    """Print a plan; `diff` also shows differences of files, and every field of objects."""
    if as_json:
        out.print_json(json.dumps(plan_json(plan, unprobed), default=str))
        return
    _print_hosts(plan, {item.host: item.problem for item in unprobed})
    if diff:
        _print_file_differences(plan)
    if plan.push:
        out.print(f"\nto be pushed to the registry: {escape(', '.join(plan.push))}")
    _print_objects(plan.objects, diff=diff)
    for trouble in plan.troubles:
        out.print(f"[red]{escape(trouble.stage)}: {escape(trouble.what)}[/]")
    if plan.objects_unknown:
        out.print(f"\nobjects of the cluster: {escape(plan.objects_unknown)}")
    out.print(_summary(plan))


def plan_json(plan: Plan, unprobed: Sequence[Unprobed]) -> dict[str, object]:
    """Return what `--json` prints."""
    return {
        "empty": plan.empty,
        "seconds": round(plan.seconds, 2),
        "hosts": [_stage_json(item) for item in plan.stages],
        "unreachable": [{"host": item.host, "problem": item.problem, "remedy": item.remedy} for item in unprobed],
        "push": list(plan.push),
        "objects": [
            {
                "stage": item.stage,
                "action": str(item.action),
                "object": item.label,
                "fields": [{"path": field.path, "before": field.before, "after": field.after} for field in item.fields],
            }
            for item in plan.objects
        ],
        "troubles": [{"stage": item.stage, "what": item.what} for item in plan.troubles],
        "objects_unknown": plan.objects_unknown,
    }


def _stage_json(item: StagePlan) -> dict[str, object]:
    return {
        "host": item.host,
        "stage": item.stage,
        "verdict": str(item.verdict),
        "reasons": list(item.reasons),
        "files": [{"path": drift.path, "removed": drift.removed, "diff": drift.difference} for drift in item.drifts],
    }


def _print_hosts(plan: Plan, problems: Mapping[str, str]) -> None:
    table = Table("host", "stage", "is", "because", box=None, pad_edge=False, header_style="bold")
    shown: set[str] = set()
    for item in plan.stages:
        if item.verdict is Verdict.UNREACHABLE:
            if item.host not in shown:
                table.add_row(item.host, "all", str(item.verdict), escape(problems.get(item.host, "")), style="red")
            shown.add(item.host)
        elif item.verdict is not Verdict.IN_SYNC:
            why = _shortened((*item.reasons, *(_file(drift.path, removed=drift.removed) for drift in item.drifts)))
            table.add_row(item.host, item.stage, str(item.verdict), escape(why), style=_STYLES[item.verdict])
    if table.row_count:
        out.print(table)


def _print_file_differences(plan: Plan) -> None:
    for item in plan.stages:
        for drift in item.drifts:
            out.print(f"\n[bold]{escape(item.host)}:{escape(drift.path)}[/] ({item.stage})")
            unknown = "it was removed" if drift.removed else "no copy of what was written is kept (it is no small text)"
            out.print(escape(drift.difference or unknown), highlight=False)


def _print_objects(objects: Iterable[ObjectPlan], *, diff: bool) -> None:
    marks = {"create": "[green]+[/]", "update": "[yellow]~[/]", "prune": "[red]-[/]"}
    for number, item in enumerate(objects):
        if not number:
            out.print()
        out.print(f"{marks[str(item.action)]} {escape(item.label)} ({item.stage})")
        for field in item.fields if diff else item.fields[:_SHOWN]:
            out.print(f"    {escape(_field(field))}", highlight=False)
        if not diff and len(item.fields) > _SHOWN:
            out.print(f"    … {len(item.fields) - _SHOWN} more fields (--diff)")


def _summary(plan: Plan) -> str:
    if plan.empty:
        return f"nothing to do; looked at everything in {plan.seconds:.1f} s"
    counts = {
        "stages to run": sum(len(hosts) for hosts in plan.to_run().values()),
        "drifted": sum(item.verdict is Verdict.DRIFTED for item in plan.stages),
        "hosts unreachable": len(plan.unreachable),
        "to push": len(plan.push),
        "objects": len(plan.objects),
        "in trouble": len(plan.troubles),
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "objects are not known"
    return f"\n{said}; looked at everything in {plan.seconds:.1f} s"


def _shortened(reasons: tuple[str, ...]) -> str:
    more = f", … {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return ", ".join(reasons[:_SHOWN]) + more


def _file(path: str, *, removed: bool) -> str:
    return f"file {path} was {'removed' if removed else 'changed'}"


def _field(field: FieldChange) -> str:
    return f"{field.path}: {_value(field.before)} → {_value(field.after)}"


def _value(value: object) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, default=str)
    return text if len(text) <= _VALUE_LENGTH else f"{text[:_VALUE_LENGTH]}…"
