"""The inventory as a table or as JSON, and its warnings."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from llmprov.inventory import Host, Inventory
from llmprov.inventory.findings import MASK, shown_value
from llmprov.inventory.monitoring_settings import MonitoringSettings
from llmprov.report.console import err, out

_GROUPS = ("control_plane", "gpu_workers", "workers")


def print_warnings(inventory: Inventory) -> None:
    """Print what is allowed but unwise, on standard error."""
    for line in inventory.warnings:
        err.print(f"[yellow]warning:[/] {escape(line)}")


def print_inventory(inventory: Inventory, *, as_json: bool) -> None:
    """Print hosts, settings and models."""
    if as_json:
        out.print_json(json.dumps(_document(inventory)))
        return
    out.print(_hosts(inventory))
    out.print(_settings(inventory))
    if inventory.models:
        out.print(_models(inventory))


def print_valid(inventory: Inventory, *, as_json: bool) -> None:
    """Print that the inventory is valid, and what is in it."""
    counts = {
        "hosts": len(inventory.hosts),
        "control_plane": len(inventory.control_plane),
        "gpu_workers": len(inventory.gpu_workers),
        "models": len(inventory.models),
    }
    if as_json:
        out.print_json(json.dumps({"valid": True, "warnings": list(inventory.warnings), **counts}))
        return
    words = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
    out.print(f"[green]valid[/] ({words})")


def print_written(directory: Path, files: Sequence[Path], *, filled: bool, as_json: bool) -> None:
    """Print the files of a new inventory and what to do next."""
    if as_json:
        out.print_json(json.dumps({"directory": str(directory), "files": [str(file) for file in files]}))
        return
    for file in files:
        out.print(escape(str(file)))
    steps = [] if filled else [f"fill in the addresses in {directory / 'hosts.yml'}"]
    steps += [f"llmprov inventory validate -i {directory}", f"llmprov preflight -i {directory}"]
    out.print("next:")
    for step in steps:
        out.print(f"  {escape(step)}")


def print_schema(schema: dict[str, object]) -> None:
    """Print a JSON Schema."""
    out.print_json(json.dumps(schema))


def _hosts(inventory: Inventory) -> Table:
    table = Table(title="hosts", title_justify="left")
    for column in ("name", "address", "role", "user", "port"):
        table.add_column(column)
    for host in inventory.hosts:
        address = host.address if host.address == host.node_address else f"{host.address} ({host.node_address} inside)"
        table.add_row(host.name, address, _role(inventory, host), host.user, str(host.port))
    return table


def _role(inventory: Inventory, host: Host) -> str:
    roles = [group for group in _GROUPS if group in host.groups]
    first = " (first)" if host == inventory.first_control_plane else ""
    return f"{roles[0]}{first}" if roles else ""


def _settings(inventory: Inventory) -> Table:
    table = Table(title="settings", title_justify="left", show_header=False)
    for name, value in inventory.settings:
        if isinstance(value, MonitoringSettings):
            for key, shown in _monitoring(value).items():
                table.add_row(f"cluster_{name}.{key}", escape(str(shown)))
        else:
            table.add_row(f"cluster_{name}", escape(str(value)))
    return table


def _monitoring(settings: MonitoringSettings) -> dict[str, object]:
    """The keys of `cluster_monitoring`; Alertmanager's own configuration may hold passwords of receivers."""
    document = settings.model_dump(mode="json")
    return document | {"alertmanager": MASK if settings.alertmanager else {}}


def _models(inventory: Inventory) -> Table:
    table = Table(title="models", title_justify="left")
    for column in ("name", "served as", "weights", "engine", "GPUs", "replicas"):
        table.add_column(column)
    for model in inventory.models:
        weights = model.source.artifact or model.source.image or ""
        numbers = (str(model.resources.gpus), str(model.replicas))
        table.add_row(model.name, escape(model.public_name), escape(weights), escape(model.engine.image), *numbers)
    return table


def _document(inventory: Inventory) -> dict[str, object]:
    document = inventory.model_dump(mode="json", exclude={"hosts"})
    document["hosts"] = [_host(host) for host in inventory.hosts]
    document["settings"]["monitoring"] = _monitoring(inventory.settings.monitoring)
    for model in document["models"]:
        environment = model["engine"]["env"]
        model["engine"]["env"] = {name: _shown(name, value) for name, value in environment.items()}
    return document


def _host(host: Host) -> dict[str, object]:
    return {
        "name": host.name,
        "address": host.address,
        "node_address": host.node_address,
        "user": host.user,
        "port": host.port,
        "groups": sorted(host.groups),
    }


def _shown(name: str, value: str) -> str:
    shown = shown_value(name, value)
    return shown if shown.startswith("*") else value
