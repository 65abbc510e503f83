"""`llmprov lab`: bare hosts on this machine."""

import os
from pathlib import Path
from typing import Annotated

import typer

from llmprov.lab import lifecycle, store
from llmprov.lab.spec import DEFAULT_NAME, LabSpec, Suite, build, load, of_size
from llmprov.report import lab as report
from llmprov.report import progress

app = typer.Typer(help="Bare hosts on this machine, to learn and to test on.", no_args_is_help=True)

Name = Annotated[str, typer.Option("--name", help="Which lab.")]
HostName = Annotated[str, typer.Argument(metavar="HOST", help="A host's name, as `status` lists it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def up(
    *,
    hosts: Annotated[int | None, typer.Option(min=1, max=200, help="One control plane, else GPU workers.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="A lab.yml; see docs/lab.md.")] = None,
    name: Annotated[str | None, typer.Option(help="The lab's name; labs of different names do not meet.")] = None,
    inventory: Annotated[Path | None, typer.Option(help="Where hosts.yml and ssh.cfg go.")] = None,
    base: Annotated[Suite | None, typer.Option(help="The hosts' Debian release.")] = None,
    subnet: Annotated[str | None, typer.Option(help="The hosts' network, as 10.77.0.0/24.")] = None,
    json: Json = False,
) -> None:
    """Boot hosts and write an inventory for them; hosts that already run are left alone."""
    spec = _spec(hosts, file, {"name": name, "base": base, "subnet": subnet})
    with progress.open() as steps:
        result = lifecycle.up(spec, _inventory(inventory, spec.name), steps)
    report.print_up(result, as_json=json)


@app.command()
def status(name: Name = DEFAULT_NAME, json: Json = False) -> None:
    """List the hosts: off, booting, cut off the network, or ready."""
    report.print_status(lifecycle.status(name), as_json=json)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def ssh(
    host: HostName,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[CMD]...", help="Run this instead of a shell.")
    ] = None,
    name: Name = DEFAULT_NAME,
) -> None:
    """Log in to a host, or run a command on it."""
    found = lifecycle.find(name, host)
    os.execvp("ssh", ["ssh", "-F", str(found.lab_files.ssh_config), found.name, *(command or [])])  # noqa: S606 - becomes ssh


@app.command()
def down(name: Name = DEFAULT_NAME) -> None:
    """Power all hosts off in an orderly way; `up` boots them again as they were."""
    with progress.open() as steps:
        lifecycle.down(name, steps)


@app.command()
def destroy(name: Name = DEFAULT_NAME) -> None:
    """Remove the lab and everything it made, in whatever state it is."""
    with progress.open() as steps:
        lifecycle.destroy(name, steps)


@app.command()
def poweroff(
    host: HostName,
    hard: Annotated[bool, typer.Option("--hard", help="Pull the cord instead of shutting down.")] = False,
    name: Name = DEFAULT_NAME,
) -> None:
    """Power one host off."""
    with progress.open() as steps:
        lifecycle.poweroff(name, host, hard=hard, progress=steps)


@app.command()
def start(host: HostName, name: Name = DEFAULT_NAME) -> None:
    """Boot one host that is off."""
    with progress.open() as steps:
        lifecycle.start(name, host, steps)


@app.command()
def reboot(host: HostName, name: Name = DEFAULT_NAME) -> None:
    """Reboot one host and wait for its SSH."""
    with progress.open() as steps:
        lifecycle.reboot(name, host, steps)


@app.command()
def cut(host: HostName, name: Name = DEFAULT_NAME) -> None:
    """Cut one host off the network."""
    lifecycle.cut(name, host)


@app.command()
def heal(host: HostName, name: Name = DEFAULT_NAME) -> None:
    """Connect a host that was cut off again."""
    lifecycle.heal(name, host)


def _spec(hosts: int | None, file: Path | None, options: dict[str, object]) -> LabSpec:
    """The lab asked for: a file, a number of hosts, or else the lab of that name as it is."""
    if hosts is not None and file is not None:
        raise typer.BadParameter("give either --hosts or -f, not both")
    given = {key: value for key, value in options.items() if value is not None}
    if hosts is None and file is None and (existing := store.find_spec(str(given.get("name", DEFAULT_NAME)))):
        return build(existing.model_dump(mode="json") | given)
    data = load(file) if file else {"hosts": of_size(hosts or 3)}
    return build(data | given)


def _inventory(given: Path | None, lab: str) -> Path:
    return given or Path("inventories") / ("lab" if lab == DEFAULT_NAME else f"lab-{lab}")
