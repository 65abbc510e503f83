"""`llmprov inventory`: what llmprov understands of an inventory."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.inventory.schema import cluster_schema, model_schema
from llmprov.report import inventory as report

app = typer.Typer(help="Check and show an inventory; no host is asked.", no_args_is_help=True)

InventoryPath = Annotated[Path, typer.Option("-i", "--inventory", help="Inventory directory or hosts file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Kind(StrEnum):
    """What a schema describes."""

    MODEL = "model"
    CLUSTER = "cluster"


@app.command()
def validate(inventory: InventoryPath, json: Json = False) -> None:
    """Check an inventory and report every error at once; exits 3 when there is one."""
    loaded = load(inventory)
    report.print_warnings(loaded)
    report.print_valid(loaded, as_json=json)


@app.command()
def show(inventory: InventoryPath, json: Json = False) -> None:
    """Show hosts, settings with their defaults, and models."""
    loaded = load(inventory)
    report.print_warnings(loaded)
    report.print_inventory(loaded, as_json=json)


@app.command()
def schema(kind: Annotated[Kind, typer.Argument(help="models/*.yml, or group_vars/all.yml.")]) -> None:
    """Print the JSON Schema of a file, for editors."""
    report.print_schema(model_schema() if kind is Kind.MODEL else cluster_schema())
