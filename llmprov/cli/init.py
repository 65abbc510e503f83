"""`llmprov init`: a starting inventory."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.report import inventory as report
from llmprov.workflows import init as workflow


def init(
    directory: Annotated[Path, typer.Argument(help="Where the inventory goes.")],
    *,
    hosts: Annotated[
        str, typer.Option(help="Addresses, comma-separated, as ADDRESS or NAME=ADDRESS: control planes first.")
    ] = "",
    control_planes: Annotated[int, typer.Option(min=1, help="How many of the hosts are control planes.")] = 1,
    user: Annotated[str, typer.Option(help="Whom to log in as; needs sudo.")] = "ops",
    name: Annotated[str, typer.Option(help="Name of the cluster.")] = "llmprov",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a commented starting inventory; overwrites nothing."""
    addresses = [part for part in hosts.split(",") if part.strip()]
    files = workflow.init(directory, addresses=addresses, control_planes=control_planes, user=user, cluster_name=name)
    report.print_written(directory, files, filled=bool(addresses), as_json=json)
