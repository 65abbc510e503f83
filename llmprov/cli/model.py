"""`llmprov model`: weights into the cluster's registry, and the models that are served from them."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.report import model as report
from llmprov.report import progress
from llmprov.workflows import model_deploy, model_push, model_show

app = typer.Typer(help="Models: push weights, deploy, list, show, scale, roll out, remove.", no_args_is_help=True)

Inventory = Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
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
def list_models(
    *,
    inventory: Inventory,
    registry: Annotated[
        bool, typer.Option("--registry", help="List the weights in the cluster's registry instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the models of the inventory and of the cluster."""
    with progress.open() as steps:
        if registry:
            stored = model_push.stored_models(load(inventory), steps)
        else:
            served = model_show.served_models(load(inventory), steps)
    if registry:
        report.print_stored(stored, as_json=as_json)
    else:
        report.print_served(served, as_json=as_json)


@app.command()
def show(name: Name, *, inventory: Inventory, as_json: AsJson = False) -> None:
    """Show one model: replicas, images, autoscaling."""
    with progress.open() as steps:
        detail = model_show.show(load(inventory), name, steps)
    report.print_detail(detail, as_json=as_json)


@app.command()
def deploy(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these models.")] = None,
    *,
    inventory: Inventory,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take back fields that somebody changed in the cluster.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Deploy the inventory's models to a cluster that is there; without names, remove those that left it."""
    with progress.open() as steps:
        ready = model_deploy.deploy(load(inventory), steps, take_over=take_over, names=tuple(names or ()))
    report.print_deployed(ready, as_json=as_json)


@app.command()
def scale(
    name: Name,
    replicas: Annotated[str, typer.Argument(metavar="REPLICAS", help="2, or 1-4 to follow the load.")],
    *,
    inventory: Inventory,
    as_json: AsJson = False,
) -> None:
    """Give a model another number of replicas, until it is deployed the next time; its file stays as it is."""
    with progress.open() as steps:
        ready = model_deploy.scale(load(inventory), name, replicas, steps)
    report.print_deployed(ready, as_json=as_json)


@app.command()
def rollout(
    name: Name,
    *,
    inventory: Inventory,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how it would go.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Replace replicas that would not change, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Roll out what a model's file says now; back to what served before when that does not become ready."""
    with progress.open() as steps:
        if dry_run:
            plan = model_deploy.plan_rollout(load(inventory), name, steps, restart=restart)
        else:
            plan, ready = model_deploy.roll_out(load(inventory), name, steps, restart=restart)
    if dry_run:
        report.print_plan(plan, as_json=as_json)
    else:
        report.print_rollout(plan, ready, as_json=as_json)


@app.command()
def remove(name: Name, *, inventory: Inventory, as_json: AsJson = False) -> None:
    """Take a model out of the cluster; its file and its weights in the registry stay."""
    with progress.open() as steps:
        removed = model_deploy.remove(load(inventory), name, steps)
    report.print_removed(removed, as_json=as_json)
