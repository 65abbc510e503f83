"""`llmprov reset`: back to bare hosts."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from llmprov.report import console, progress
from llmprov.report import install as report
from llmprov.workflows import reset as workflow


def reset(
    ctx: typer.Context,
    *,
    inventory: Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")],
    limit: Annotated[str, typer.Option(metavar="PATTERN", help="Only these hosts, as Ansible's --limit.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Remove everything that an install brought: the cluster, its data, models and images."""
    cluster = workflow.load(inventory)
    if not yes:
        _confirm(f"{limit or ', '.join(host.name for host in cluster.hosts)}")
    debug = bool(ctx.obj and ctx.obj["debug"])
    with progress.open() as steps:
        result = workflow.reset(cluster, steps, limit=limit, on_output=console.print_raw if debug else None)
    report.print_reset(result, as_json=json)


def _confirm(hosts: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("reset deletes the cluster and its data; without a terminal to ask on it needs --yes")
    typer.confirm(f"Delete the cluster, its data and its models from {hosts}?", abort=True, err=True)
