"""`llmprov install`: from bare hosts to models that answer."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.cli.options import stage_name
from llmprov.errors import ExitCode
from llmprov.report import console, progress
from llmprov.report import install as report
from llmprov.workflows import install as workflow


def install(
    ctx: typer.Context,
    *,
    inventory: Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")],
    limit: Annotated[str, typer.Option(metavar="PATTERN", help="Only these hosts, as Ansible's --limit.")] = "",
    until: Annotated[str, typer.Option(metavar="STAGE", callback=stage_name, help="Stop after this stage.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Change nothing; say what would change.")] = False,
    repair_drift: Annotated[
        bool, typer.Option("--repair-drift", help="Also bring back files that somebody else changed.")
    ] = False,
    max_failed: Annotated[
        int | None, typer.Option("--max-failed", min=0, metavar="N", help="Go on without up to N workers that fail.")
    ] = None,
    skip_preflight: Annotated[bool, typer.Option("--skip-preflight", help="Do not check the hosts first.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bring bare hosts to a cluster that serves the inventory's models; again, to bring it up to date."""
    debug = bool(ctx.obj and ctx.obj["debug"])
    request = workflow.Request(
        inventory=inventory,
        limit=limit,
        until=until,
        check=check,
        preflight=not skip_preflight,
        repair_drift=repair_drift,
        max_failed=max_failed,
        verbosity=1 if debug else 0,
    )
    with progress.open() as steps:
        result = workflow.install(request, steps, on_output=console.print_raw if debug or check else None)
    report.print_install(result, as_json=json)
    if result.set_aside:
        raise typer.Exit(ExitCode.PARTIAL)
