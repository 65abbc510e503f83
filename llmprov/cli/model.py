"""`llmprov model`: bring models into the cluster's registry, list them, deploy those of the inventory."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.report import model as report
from llmprov.report import progress
from llmprov.workflows import model_deploy, model_push

app = typer.Typer(help="Models: push weights, list them, deploy.", no_args_is_help=True)

Inventory = Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def push(
    source: Annotated[str, typer.Argument(help="A directory with config.json and weights, or hf:REPO[@REVISION].")],
    name: Annotated[str, typer.Argument(help="The model's name: a DNS-1123 label.")],
    *,
    inventory: Inventory,
    tag: Annotated[str, typer.Option(metavar="TAG", help="Tag of the image.")] = "latest",
    as_json: AsJson = False,
) -> None:
    """Put weights into the cluster's registry; again, to go on after an interruption."""
    with progress.open() as steps:
        pushed = model_push.push(load(inventory), source, name, tag, steps)
    report.print_pushed(pushed, as_json=as_json)


@app.command("list")
def list_models(*, inventory: Inventory, as_json: AsJson = False) -> None:
    """List the models in the cluster's registry."""
    with progress.open() as steps:
        found = model_push.stored_models(load(inventory), steps)
    report.print_stored(found, as_json=as_json)


@app.command()
def deploy(
    *,
    inventory: Inventory,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take back fields that somebody changed in the cluster.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Deploy the inventory's models to a cluster that is there, and remove those that left it."""
    with progress.open() as steps:
        ready = model_deploy.deploy(load(inventory), steps, take_over=take_over)
    report.print_deployed(ready, as_json=as_json)
