"""`llmprov plan`: what an install would do."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.cli.options import stage_name
from llmprov.report import plan as report
from llmprov.report import progress
from llmprov.workflows import plan as workflow

CHANGES = 2
"""The exit code of `--detailed-exitcode` when something is to be done."""


def plan(
    *,
    inventory: Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")],
    limit: Annotated[str, typer.Option(metavar="PATTERN", help="Only these hosts, as Ansible's --limit.")] = "",
    until: Annotated[str, typer.Option(metavar="STAGE", callback=stage_name, help="Up to this stage.")] = "",
    diff: Annotated[bool, typer.Option("--diff", help="Show how files and objects differ.")] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="End with 2 when something is to be done.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Compare hosts and cluster with the inventory and say what an install would do. Changes nothing."""
    request = workflow.Request(inventory=inventory, limit=limit, until=until, diff=diff)
    with progress.open() as steps:
        found = workflow.plan(request, steps)
    report.print_plan(found.plan, found.unprobed, as_json=json, diff=diff)
    if detailed_exitcode and not found.plan.empty:
        raise typer.Exit(CHANGES)
