"""Writes a starting inventory: commented files that validate as soon as every host has an address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from llmprov import inventory
from llmprov.errors import InventoryError
from llmprov.inventory.checks_hosts import is_dns_1123

_STARTER = Path(inventory.__file__).parent / "starter"
_FILES = {
    "hosts.yml": "hosts.yml.j2",
    "group_vars/all.yml": "group_vars/all.yml.j2",
    "models/model.yml.example": "models/model.yml.example",
    "ansible.cfg": "ansible.cfg",
    ".gitignore": "gitignore",
}
_DEFAULT_WORKERS = 2


@dataclass(frozen=True, slots=True)
class NewHost:
    """A host to write down; an empty address is left for the user to fill in."""

    name: str
    address: str


def init(
    directory: Path, *, addresses: Sequence[str] = (), control_planes: int = 1, user: str, cluster_name: str
) -> tuple[Path, ...]:
    """Write a starting inventory.

    Args:
        directory: where; made when missing, refused when it holds one of the files.
        addresses: of the hosts, as `ADDRESS` or `NAME=ADDRESS`: control planes first, then GPU workers.
        control_planes: how many of the hosts are control planes.
        user: whom to log in as.
        cluster_name: name of the cluster.

    Returns:
        The files that were written.

    Raises:
        InventoryError: a file is there already, or there are fewer addresses than control planes.
    """
    _check(directory, addresses, control_planes)
    names = [f"cp{number}" for number in range(1, control_planes + 1)]
    workers = max(len(addresses) - control_planes, 0) if addresses else _DEFAULT_WORKERS
    names += [f"gpu{number}" for number in range(1, workers + 1)]
    hosts = [_host(name, given) for name, given in zip(names, addresses or [""] * len(names), strict=True)]
    _check_names([*(host.name for host in hosts), cluster_name])
    values = {
        "control_plane": hosts[:control_planes],
        "gpu_workers": hosts[control_planes:],
        "user": user,
        "cluster_name": cluster_name,
    }
    return tuple(_write(directory / name, template, values) for name, template in _FILES.items())


def _check(directory: Path, addresses: Sequence[str], control_planes: int) -> None:
    taken = [name for name in _FILES if (directory / name).exists()]
    if taken or (directory.exists() and not directory.is_dir()):
        raise InventoryError(
            f"{directory} is in use" + (f": it has {', '.join(taken)}" if taken else ""),
            remedy="name another directory: nothing is ever overwritten",
        )
    if addresses and len(addresses) < control_planes:
        raise InventoryError(
            f"{len(addresses)} hosts cannot hold {control_planes} control planes",
            remedy="give more addresses, or fewer control planes",
        )


def _check_names(names: Sequence[str]) -> None:
    wrong = [name for name in names if not is_dns_1123(name)]
    if wrong:
        raise InventoryError(
            f"no DNS-1123 name: {', '.join(map(repr, wrong))}",
            remedy="use lower-case letters, digits and hyphens, with a letter or digit at both ends",
        )


def _host(name: str, given: str) -> NewHost:
    own_name, separator, address = given.partition("=")
    return NewHost(own_name.strip(), address.strip()) if separator else NewHost(name, given.strip())


def _write(file: Path, template: str, values: Mapping[str, object]) -> Path:
    environment = Environment(
        loader=FileSystemLoader(_STARTER),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 - the result is YAML
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(environment.get_template(template).render(values), encoding="utf-8")
    return file
