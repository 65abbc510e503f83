"""`llmprov bundle`: everything an offline install needs, in one directory."""

from pathlib import Path
from typing import Annotated

import typer

from llmprov.bundle.lock import BundleLock
from llmprov.bundle.push import CORE_IMAGES, Selection
from llmprov.errors import BundleError, ExitCode
from llmprov.report import bundle as report
from llmprov.report import progress
from llmprov.workflows import bundle as workflow
from llmprov.workflows.bundle import BuildRequest, CatalogName

app = typer.Typer(help="Everything an offline install needs, in one directory.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Bundle = Annotated[
    Path | None, typer.Option("--bundle", "-b", metavar="DIR", help="The bundle; by default the one in the cache.")
]


@app.command()
def build(
    catalog: Annotated[
        CatalogName | None,
        typer.Option(
            help="Where artifacts come from; auto: upstream if it answers, else registries. "
            "By default that of the bundle which is there, else auto."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="The bundle directory.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Build only this; may be given several times.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Artifacts built at once.")] = None,
    json: Json = False,
) -> None:
    """Build the bundle, or bring it up to date; an interrupted build goes on where it stopped."""
    request = BuildRequest(catalog, output or workflow.default_directory(), _names(only), jobs)
    with progress.open() as steps:
        result = workflow.build(request, steps)
    report.print_build(result, as_json=json)


@app.command("list")
def list_artifacts(bundle: Bundle = None, json: Json = False) -> None:
    """List what the bundle holds: version, size, licence, source and digest."""
    directory = bundle or workflow.default_directory()
    report.print_lock(directory, BundleLock.load(directory), as_json=json)


@app.command()
def verify(bundle: Bundle = None, json: Json = False) -> None:
    """Hash every file of the bundle and name each that is bad."""
    with progress.open() as steps:
        result = workflow.verify(bundle or workflow.default_directory(), steps)
    if json:
        report.print_verified(result, as_json=True)
        raise typer.Exit(ExitCode.BUNDLE if result.findings else ExitCode.OK)
    if count := len(result.findings):
        raise BundleError(
            f"{result.directory} has {count} bad file{'s' if count > 1 else ''}",
            remedy="llmprov bundle build replaces what is bad and removes what is not referenced",
            details=tuple(finding.line() for finding in result.findings),
        )
    report.print_verified(result, as_json=False)


@app.command()
def push(
    *,
    inventory: Annotated[
        Path | None, typer.Option("--inventory", "-i", metavar="INVENTORY", help="The cluster whose registry gets it.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="URL", help="A registry: http://host:port.")] = None,
    only_files: Annotated[bool, typer.Option("--only-files", help="The files and packages.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="This image; may be given several times.")
    ] = None,
    core: Annotated[bool, typer.Option("--core", help="Files, packages and the images of Kubernetes.")] = False,
    bundle: Bundle = None,
    json: Json = False,
) -> None:
    """Push what a registry does not have yet; --core, --only-files and --only may be combined."""
    if (inventory is None) == (to is None):
        raise typer.BadParameter("give either -i INVENTORY or --to URL")
    selection = Selection(only_files or core, (*(CORE_IMAGES if core else ()), *_names(only)))
    with progress.open() as steps:
        if inventory is not None:
            result = workflow.push_to_inventory(inventory, bundle, selection, steps)
        else:
            result = workflow.push_to_url(bundle or workflow.default_directory(), str(to), selection, steps)
    report.print_push(result, as_json=json)


def _names(only: list[str] | None) -> tuple[str, ...]:
    """Names given one at a time or with commas."""
    return tuple(name.strip() for item in only or () for name in item.split(",") if name.strip())
