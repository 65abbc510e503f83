"""Models: what was pushed, what the registry has, what was deployed."""

import json
from dataclasses import asdict
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from llmprov.model_states import Autoscaling, ModelDetail, PlannedRollout, RemovedModel, ServedModel
from llmprov.report.console import out
from llmprov.states import PushedModel, ReadyModel, StoredModel

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def print_pushed(model: PushedModel, *, as_json: bool) -> None:
    """Print where the model is now and how to serve it."""
    if as_json:
        out.print_json(json.dumps(asdict(model)))
        return
    zstd = f", {model.compressed} with zstd" if model.compressed else ""
    rate = f" in {model.seconds:.1f} s" if model.sent else ""
    out.print(f"{model.name}: {size(model.size)} in {model.layers} layers{zstd}; sent {size(model.sent)}{rate}")
    out.print("to serve it, name it in a file of the inventory's models directory and run `llmprov install`:")
    out.print(f"  source:\n    image: {escape(model.reference)}")


def print_stored(models: tuple[StoredModel, ...], *, as_json: bool) -> None:
    """Print the models of the registry."""
    if as_json:
        out.print_json(json.dumps([asdict(model) for model in models]))
        return
    table = Table(title="models in the registry", title_justify="left")
    for column in ("name", "tag", "size", "served as", "digest"):
        table.add_column(column)
    for model in models:
        digest = model.reference.rpartition("@")[2][:19]
        table.add_row(model.name, model.tag, size(model.size), ", ".join(model.served_as) or "-", digest)
    out.print(table)


def print_deployed(models: tuple[ReadyModel, ...], *, as_json: bool) -> None:
    """Print what was deployed and how long each replica took."""
    if as_json:
        out.print_json(json.dumps([asdict(model) for model in models]))
        return
    for model in models:
        out.print(f"[green]ready[/] {model.name}: {model.endpoint}")
        for replica in model.replicas:
            took = (("pull", replica.pull_seconds), ("engine start", replica.engine_start_seconds))
            words = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in took if seconds is not None)
            out.print(f"  {replica.node}: {words or 'running'}")


def print_served(models: tuple[ServedModel, ...], *, as_json: bool) -> None:
    """Print models of the inventory and of the cluster."""
    if as_json:
        out.print_json(json.dumps([asdict(model) for model in models], default=_text))
        return
    table = Table(title="models", title_justify="left")
    for column in ("name", "served as", "ready", "replicas", "GPUs each", "revision", "state"):
        table.add_column(column)
    for model in models:
        gpus = "-" if model.gpus is None else str(model.gpus)
        ready = f"{model.ready} of {model.wanted}"
        state = f"[{'green' if model.state == 'ready' else 'yellow'}]{escape(model.state)}[/]"
        row = (model.name, escape(model.served_name), ready, model.replicas or "-", gpus, model.revision or "-", state)
        table.add_row(*row)
    out.print(table)


def print_detail(detail: ModelDetail, *, as_json: bool) -> None:
    """Print everything about one model."""
    if as_json:
        out.print_json(json.dumps(asdict(detail), default=_text))
        return
    model = detail.model
    table = Table(title=f"model {model.name}", title_justify="left", show_header=False)
    rows = (
        ("state", model.state),
        ("served as", model.served_name),
        ("endpoint", detail.endpoint),
        ("ready", f"{model.ready} of {model.wanted}"),
        ("replicas in its file", model.replicas or "-"),
        ("GPUs of a replica", "-" if model.gpus is None else str(model.gpus)),
        ("revision", model.revision or "-"),
        ("engine", detail.engine or "-"),
        ("weights", detail.weights or "-"),
        ("arguments", " ".join(detail.arguments) or "-"),
        ("time to stop", f"{detail.stop_seconds} s"),
        *((f"replica {number}", line) for number, line in enumerate(detail.replicas, start=1)),
        *(_scaling_rows(detail.autoscaling) if detail.autoscaling else ()),
    )
    for name, value in rows:
        table.add_row(name, escape(value))
    out.print(table)


def print_plan(plan: PlannedRollout, *, as_json: bool) -> None:
    """Print how a rollout would go."""
    if as_json:
        out.print_json(json.dumps(asdict(plan)))
        return
    where = f" on {', '.join(plan.nodes)}" if plan.nodes else ""
    out.print(f"{plan.model}: [bold]{plan.move}[/]{where}: {escape(plan.why)}")
    if plan.warning:
        out.print(f"[yellow]warning[/] {escape(plan.warning)}")


def print_rollout(plan: PlannedRollout, models: tuple[ReadyModel, ...], *, as_json: bool) -> None:
    """Print how a rollout went."""
    if as_json:
        out.print_json(json.dumps({"rollout": asdict(plan), "models": [asdict(model) for model in models]}))
        return
    print_plan(plan, as_json=False)
    print_deployed(models, as_json=False)


def print_removed(removed: RemovedModel, *, as_json: bool) -> None:
    """Print what is gone, and what would bring it back."""
    if as_json:
        out.print_json(json.dumps(asdict(removed)))
        return
    out.print(f"removed {removed.name}: {len(removed.objects)} objects")
    if removed.file:
        out.print(f"{escape(removed.file)} still declares it: the next install deploys it again")


def _scaling_rows(scaling: Autoscaling) -> tuple[tuple[str, str], ...]:
    requests = "no data" if scaling.requests is None else f"{scaling.requests:.0f}"
    cache = "no data" if scaling.kv_cache is None else f"{scaling.kv_cache:.0f} %"
    return (
        ("autoscaling", scaling.state),
        ("requests", f"{requests}, one replica is to have {scaling.target_requests}"),
        ("KV cache", f"{cache}, at most {scaling.kv_cache_percent} %"),
        ("cool-down", f"{scaling.cooldown_seconds} s"),
    )


def _text(value: object) -> str:
    """Write times as ISO 8601."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def size(number: int) -> str:
    """Return a number of bytes in the unit that people read."""
    value, unit = float(number), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
