"""`llmprov runs`: what past runs did, and how they ended."""

from typing import Annotated

import typer

from llmprov.report import history as report
from llmprov.workflows import runs as workflow

app = typer.Typer(help="Past runs: list them, show one.")

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SHOWN_SLOWEST = 5


@app.callback(invoke_without_command=True)
def runs(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List past runs, the newest first: what, when, how it ended, how long it took, what it changed."""
    if ctx.invoked_subcommand is None:
        report.print_runs(workflow.runs(), as_json=as_json)


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="ID", help="The run's id, the beginning of it, or `last`.")],
    *,
    slowest: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many of the slowest tasks to name.")
    ] = SHOWN_SLOWEST,
    as_json: AsJson = False,
) -> None:
    """Show one run: phases, tasks by stage and host, failures, the slowest tasks."""
    report.print_run(workflow.show(run, slowest=slowest), as_json=as_json)
