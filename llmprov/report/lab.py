"""Tables and JSON of the lab verbs."""

import json
from dataclasses import asdict

from rich.table import Table

from llmprov.lab.lifecycle import LabStatus, UpResult
from llmprov.report.console import out

_STYLES = {"ready": "green", "booting": "yellow", "cut": "red", "off": "dim"}


def print_up(result: UpResult, *, as_json: bool) -> None:
    """Print the hosts, how long each phase took, and what to do next."""
    if as_json:
        phases = [{"phase": name, "seconds": round(seconds, 2)} for name, seconds in result.phases]
        out.print_json(json.dumps(asdict(result.status) | {"phases": phases}))
        return
    _print_table(result.status)
    out.print("  ".join(f"{name} {seconds:.1f} s" for name, seconds in result.phases))
    first = result.status.hosts[0].name
    for inventory in result.status.inventories:
        out.print(f"ssh -F {inventory}/ssh.cfg {first}")
        out.print(f"ansible -i {inventory} all -m ping")


def print_status(status: LabStatus, *, as_json: bool) -> None:
    """Print the hosts of a lab."""
    if as_json:
        out.print_json(json.dumps(asdict(status)))
    else:
        _print_table(status)


def _print_table(status: LabStatus) -> None:
    table = Table(title=f"lab {status.name}", title_justify="left")
    for column in ("host", "address", "groups", "debian", "memory", "disk", "state"):
        table.add_column(column)
    for host in status.hosts:
        style = _STYLES[host.state]
        table.add_row(
            host.name,
            host.address,
            ", ".join(host.groups),
            host.suite,
            host.memory or "-",
            host.disk or "-",
            f"[{style}]{host.state}[/]",
        )
    out.print(table)
