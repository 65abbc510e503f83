"""`llmprov node`: hosts of a running cluster come and go without a cut request."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.report import console, progress
from llmprov.report import node as report
from llmprov.workflows import node_hosts
from llmprov.workflows import nodes as workflow

app = typer.Typer(help="Nodes: drain, uncordon, add, remove, replace.", no_args_is_help=True)

Inventory = Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")]
Nodes = Annotated[list[str], typer.Argument(metavar="NODE...", help="Names of nodes: the inventory's host names.")]
Hosts = Annotated[list[str], typer.Argument(metavar="HOST...", help="Names of hosts.")]
DrainFirst = Annotated[
    bool, typer.Option("--drain-first", help="Where there is no room for another replica, stop the old one first.")
]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", min=1, help="Until draining is given up.")]
Dead = Annotated[bool, typer.Option("--force", help="The host is dead: take it out without draining and reset.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def drain(
    nodes: Nodes,
    *,
    inventory: Inventory,
    force: Annotated[bool, typer.Option("--force", help="Lose pods that belong to no controller.")] = False,
    drain_first: DrainFirst = False,
    timeout: Timeout = workflow.SECONDS,
    as_json: AsJson = False,
) -> None:
    """Empty nodes: replicas of models go once others serve; again, to go on after an interruption."""
    options = workflow.Options(force=force, drain_first=drain_first, seconds=timeout)
    with progress.open() as steps:
        drained = workflow.drain(load(inventory), nodes, options, steps)
    report.print_drained(drained, as_json=as_json)


@app.command()
def uncordon(
    nodes: Nodes, *, inventory: Inventory, timeout: Timeout = workflow.SECONDS, as_json: AsJson = False
) -> None:
    """Let nodes take pods again."""
    with progress.open() as steps:
        done = workflow.uncordon(load(inventory), nodes, steps, seconds=timeout)
    report.print_uncordoned(done, as_json=as_json)


@app.command()
def add(ctx: typer.Context, hosts: Hosts, *, inventory: Inventory, as_json: AsJson = False) -> None:
    """Install hosts of the inventory, and nothing on the others, until they are Ready nodes."""
    with progress.open() as steps:
        added = node_hosts.add(load(inventory), hosts, steps, on_output=_output(ctx))
    report.print_added(added, as_json=as_json)


@app.command()
def remove(
    ctx: typer.Context,
    hosts: Hosts,
    *,
    inventory: Inventory,
    force: Dead = False,
    drain_first: DrainFirst = False,
    timeout: Timeout = workflow.SECONDS,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Drain hosts, take them out of the cluster and make them bare again; the inventory is yours to change."""
    cluster = load(inventory)
    _confirm(", ".join(hosts), force=force, yes=yes)
    options = workflow.Options(force=force, drain_first=drain_first, seconds=timeout)
    with progress.open() as steps:
        removed = node_hosts.remove(cluster, hosts, options, steps, on_output=_output(ctx))
    report.print_removed(removed, as_json=as_json)


@app.command()
def replace(
    ctx: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The host that goes.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The host of the inventory that comes.")],
    *,
    inventory: Inventory,
    force: Dead = False,
    drain_first: DrainFirst = False,
    timeout: Timeout = workflow.SECONDS,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Add one host, then remove another."""
    cluster = load(inventory)
    _confirm(old, force=force, yes=yes)
    options = workflow.Options(force=force, drain_first=drain_first, seconds=timeout)
    with progress.open() as steps:
        replaced = node_hosts.replace(cluster, old, new, options, steps, on_output=_output(ctx))
    report.print_replaced(replaced, as_json=as_json)


def _output(ctx: typer.Context) -> Callable[[str], None] | None:
    """Say who is shown what Ansible prints."""
    return console.print_raw if ctx.obj and ctx.obj["debug"] else None


def _confirm(hosts: str, *, force: bool, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("this makes a host bare; without a terminal to ask on it needs --yes")
    what = "Forget" if force else "Drain, remove and reset"
    typer.confirm(f"{what} {hosts}?", abort=True, err=True)
