"""Models: what was pushed, what the registry has, what was deployed."""

import json
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

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


def size(number: int) -> str:
    """Return a number of bytes in the unit that people read."""
    value, unit = float(number), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
