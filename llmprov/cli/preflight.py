"""`llmprov preflight`: are the hosts fit for installation?"""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.report import preflight as report
from llmprov.report import progress
from llmprov.report.inventory import print_warnings
from llmprov.workflows import preflight as workflow


def preflight(
    inventory: Annotated[Path, typer.Option("-i", "--inventory", help="Inventory directory or hosts file.")],
    limit: Annotated[str, typer.Option(help="Only these hosts, as Ansible's --limit.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at every host and say, at once, all that would keep it from being installed. Changes nothing.

    Exits 0 when all hosts are fit, 4 when some are not, 6 when the only problem is to reach or enter them.
    """
    loaded = load(inventory)
    print_warnings(loaded)
    with progress.open() as steps:
        found = workflow.run(loaded, steps, limit=limit)
    report.print_report(found, as_json=json)
    if found.errors:
        raise typer.Exit(found.exit_code)
