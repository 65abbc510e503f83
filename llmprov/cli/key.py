"""`llmprov key`: the API keys with which clients use the gateway."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.report import key as report
from llmprov.workflows import gateway_keys

app = typer.Typer(help="API keys of the gateway: create, list, show, allow, revoke.", no_args_is_help=True)

Inventory = Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Name = Annotated[str, typer.Argument(help="Who the key is for: lower-case letters, digits, dots, dashes.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="MODEL", help="A model of the inventory that the key may use; again for more."),
]


@app.command()
def create(name: Name, *, inventory: Inventory, model: Models = None, as_json: AsJson = False) -> None:
    """Make a key and print it on standard output; without --model it may use every model."""
    report.print_key(gateway_keys.create(load(inventory), name, tuple(model or ())), as_json=as_json)


@app.command()
def allow(
    name: Name,
    *,
    inventory: Inventory,
    model: Models = None,
    every: Annotated[bool, typer.Option("--all", help="Every model, also those that come later.")] = False,
) -> None:
    """Change which models a key may use: those that are named now and no others, or all."""
    if every == bool(model):
        raise typer.BadParameter("give either --model, once or more, or --all")
    report.print_allowed(gateway_keys.allow(load(inventory), name, None if every else model))


@app.command("list")
def list_keys(*, inventory: Inventory, as_json: AsJson = False) -> None:
    """List the keys by name; the keys themselves are not shown."""
    report.print_keys(gateway_keys.list_keys(load(inventory)), as_json=as_json)


@app.command()
def show(name: Name, *, inventory: Inventory, as_json: AsJson = False) -> None:
    """Print one key on standard output."""
    report.print_key(gateway_keys.show(load(inventory), name), as_json=as_json)


@app.command()
def revoke(name: Name, *, inventory: Inventory) -> None:
    """Delete a key: within seconds, requests with it are refused."""
    gateway_keys.revoke(load(inventory), name)
    report.print_revoked(name)
