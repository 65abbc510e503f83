"""`llmprov status`: how hosts, nodes and models are doing."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.report import progress
from llmprov.report import status as report
from llmprov.workflows import status as workflow


def status(
    inventory: Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Show hosts, nodes, models and their endpoints; the exit code is 0 when all is well."""
    with progress.open() as steps:
        found = workflow.status(load(inventory), steps)
    report.print_status(found, as_json=as_json)
    raise typer.Exit(found.exit_code)
