"""`llmprov key`: the API keys with which clients use the gateway."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.report import key as report
from llmprov.workflows import gateway_keys

app = typer.Typer(help="API keys of the gateway: create, list, show, revoke.", no_args_is_help=True)

Inventory = Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Name = Annotated[str, typer.Argument(help="Who the key is for: lower-case letters, digits, dots, dashes.")]


@app.command()
def create(name: Name, *, inventory: Inventory, as_json: AsJson = False) -> None:
    """Make a key and print it on standard output."""
    report.print_key(gateway_keys.create(load(inventory), name), as_json=as_json)


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
