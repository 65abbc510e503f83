"""`llmprov gateway`: what clients of the gateway need to know."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.inventory import load
from llmprov.report import key as report
from llmprov.workflows import gateway_access

app = typer.Typer(help="The gateway: its address and certificate authority.", no_args_is_help=True)

Inventory = Annotated[Path, typer.Option("--inventory", "-i", metavar="DIR", help="The inventory.")]


@app.command()
def ca(*, inventory: Inventory) -> None:
    """Print the certificate (PEM) by which clients verify the gateway."""
    report.print_text(gateway_access.certificate_authority(load(inventory)))


@app.command()
def address(*, inventory: Inventory) -> None:
    """Print the base URL for clients, such as OPENAI_BASE_URL."""
    report.print_text(gateway_access.base_url(load(inventory)))
