"""What a lab consists of: read from lab.yml or made from a number of hosts. Values only, nothing is touched."""

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from llmprov.errors import LabError

DEFAULT_NAME = "default"
_SIZE = re.compile(r"^([1-9][0-9]*)([MG])$")
_UNITS = {"M": 1024**2, "G": 1024**3}
_EXAMPLE = "docs/lab.md shows an example"
# The last octet of the first host of each kind: a person reads the kind off an address.
_FIRST_OCTET = {"control_plane": 11, "gpu_workers": 21, "workers": 61}

LabName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$")]
HostName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$")]
Size = Annotated[str, StringConstraints(pattern=_SIZE.pattern)]


class Suite(StrEnum):
    """The Debian releases a host can run."""

    BOOKWORM = "bookworm"
    TRIXIE = "trixie"


class HostSpec(BaseModel):
    """One host.

    Attributes:
        groups: inventory groups; default by name: cpN control_plane, gpuN gpu_workers, anything else workers.
        address: within the lab's subnet; assigned when left out.
        memory: limit of all its processes together, as 512M or 4G; no limit when left out.
        disk: size of a file system of its own for /var, as 2G; shares the machine's disk when left out.
        base: Debian release, when it differs from the lab's.
        binds: directories of this machine shown inside, read-only: {inside: outside}.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: HostName
    groups: tuple[str, ...] = ()
    address: IPv4Address | None = None
    memory: Size | None = None
    disk: Size | None = None
    base: Suite | None = None
    binds: dict[str, str] = Field(default_factory=dict)

    @field_validator("binds")
    @classmethod
    def _binds_are_absolute(cls, binds: dict[str, str]) -> dict[str, str]:
        relative = [path for pair in binds.items() for path in pair if not path.startswith("/")]
        if relative:
            raise ValueError(f"not an absolute path: {', '.join(relative)}")
        return binds

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes."""
        return size_bytes(self.memory) if self.memory else None


class LabSpec(BaseModel):
    """A whole lab. After validation every host has groups and an address.

    Attributes:
        sudo_password: when set, `ops` has to give it to sudo; otherwise sudo asks for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: LabName = DEFAULT_NAME
    base: Suite = Suite.TRIXIE
    subnet: IPv4Network = IPv4Network("10.77.0.0/24")
    sudo_password: str | None = None
    hosts: tuple[HostSpec, ...]

    @model_validator(mode="before")
    @classmethod
    def _hosts_by_name(cls, data: object) -> object:
        """Accept `hosts: {cp1: {...}}`, which is how a person writes it."""
        if isinstance(data, dict) and isinstance(data.get("hosts"), dict):
            hosts = [{"name": name, **(options or {})} for name, options in data["hosts"].items()]
            return {**data, "hosts": hosts}
        return data

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.hosts:
            raise ValueError("a lab needs at least one host")
        hosts = _with_addresses(tuple(_with_groups(host) for host in self.hosts), self.subnet)
        _check_unique([host.name for host in hosts], "host name")
        _check_unique([str(host.address) for host in hosts], "address")
        _check_addresses(hosts, self.subnet)
        # The model is frozen for everybody else; this is still its construction.
        object.__setattr__(self, "hosts", hosts)
        return self

    @property
    def gateway(self) -> IPv4Address:
        """The bridge's own address, the hosts' default route (which leads nowhere else)."""
        return self.subnet[1]

    def host(self, name: str) -> HostSpec:
        """Find a host.

        Raises:
            LabError: the lab has no such host.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        raise LabError(f"lab {self.name} has no host {name}", remedy=f"its hosts are: {names}")

    def suite(self, host: HostSpec) -> Suite:
        """The Debian release that `host` runs."""
        return host.base or self.base


def size_bytes(text: str) -> int:
    """Convert 512M or 4G to bytes."""
    match = _SIZE.match(text)
    if not match:
        raise LabError(f"size {text!r} is not understood", remedy="write it as 512M or 4G")
    return int(match[1]) * _UNITS[match[2]]


def of_size(count: int) -> list[dict[str, str]]:
    """The hosts of a lab known only by their number: one control plane, the others GPU workers."""
    return [{"name": "cp1"}] + [{"name": f"gpu{number}"} for number in range(1, count)]


def load(path: Path) -> dict[str, object]:
    """Read lab.yml without judging it; `build` does that.

    Raises:
        LabError: the file is missing, is not YAML or is not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror}", remedy=_EXAMPLE) from error
    except yaml.YAMLError as error:
        raise LabError(f"{path} is not YAML", details=tuple(str(error).splitlines()), remedy=_EXAMPLE) from error
    if not isinstance(data, dict):
        raise LabError(f"{path} is not a mapping", remedy=_EXAMPLE)
    return data


def build(data: dict[str, object]) -> LabSpec:
    """Validate a description of a lab.

    Raises:
        LabError: with every finding, by key.
    """
    try:
        return LabSpec.model_validate(data)
    except ValidationError as error:
        findings = tuple(
            f"{'.'.join(str(part) for part in finding['loc']) or 'lab'}: {finding['msg']}" for finding in error.errors()
        )
        raise LabError(
            "the description of the lab is wrong", details=findings, remedy="docs/lab.md lists the keys"
        ) from error


def _with_groups(host: HostSpec) -> HostSpec:
    if host.groups:
        return host
    kinds = {"cp": "control_plane", "gpu": "gpu_workers"}
    return host.model_copy(update={"groups": (kinds.get(host.name.rstrip("0123456789"), "workers"),)})


def _with_addresses(hosts: tuple[HostSpec, ...], subnet: IPv4Network) -> tuple[HostSpec, ...]:
    taken = {host.address for host in hosts if host.address}
    done = []
    for host in hosts:
        address = host.address or _next_address(host, subnet, taken)
        taken.add(address)
        done.append(host.model_copy(update={"address": address}))
    return tuple(done)


def _next_address(host: HostSpec, subnet: IPv4Network, taken: set[IPv4Address]) -> IPv4Address:
    kind = next((group for group in _FIRST_OCTET if group in host.groups), "workers")
    for octet in range(_FIRST_OCTET[kind], min(subnet.num_addresses - 1, 255)):
        if subnet[octet] not in taken:
            return subnet[octet]
    raise ValueError(f"subnet {subnet} has no address left for {host.name}")


def _check_addresses(hosts: tuple[HostSpec, ...], subnet: IPv4Network) -> None:
    for host in hosts:
        if host.address not in subnet or host.address in (subnet[0], subnet[1], subnet[-1]):
            raise ValueError(f"address {host.address} of {host.name} is not a host address of {subnet}")


def _check_unique(values: list[str], what: str) -> None:
    double = sorted({value for value in values if values.count(value) > 1})
    if double:
        raise ValueError(f"{what} used twice: {', '.join(double)}")
