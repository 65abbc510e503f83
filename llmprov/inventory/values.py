"""The inventory as frozen values: hosts, cluster settings, models.

Nothing here reads a file. `llmprov.inventory.load` fills these values after every check has passed, so whoever holds an
`Inventory` holds a valid one.
"""

from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmprov.inventory.model_spec import ModelSpec
from llmprov.inventory.monitoring_settings import MonitoringSettings
from llmprov.ssh import SshTarget

CONTROL_PLANE = "control_plane"
WORKERS = "workers"
GPU_WORKERS = "gpu_workers"

GpuMode = Literal["real", "simulated"]
NetworkBackend = Literal["host-gw", "vxlan"]


class Frozen(BaseModel):
    """A value that cannot change after it was checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Host(Frozen):
    """One machine of the inventory.

    `variables` are the host's own and inherited inventory variables as Ansible merges them; templates in them are not
    resolved, encrypted values are ciphertext, and they may hold secrets: they are for passing on, not for printing.
    """

    name: str
    address: str
    """What the controller reaches it by (`ansible_host`, or the name)."""
    node_address: str
    """What the other hosts reach it by (`cluster_node_address`): the same, unless the inventory says otherwise."""
    groups: frozenset[str]
    user: str = ""
    port: int = 22
    ssh: SshTarget
    sudo_password: Callable[[], str] | None = Field(default=None, repr=False)
    """Resolves the password that sudo asks for (`InventoryError` when it cannot); None where the inventory has none."""
    variables: Mapping[str, object] = Field(default_factory=dict, repr=False)


class ClusterSettings(Frozen):
    """The settings that all roles share: the variables of role `cluster`, without their prefix."""

    name: str
    first_control_plane: str
    """Name of the host that runs `kubeadm init` and the registry."""
    api_host: str
    """Address that kubelets and clients use for the Kubernetes API: the first control plane, or a virtual address."""
    api_port: int
    pod_cidr: IPv4Network | IPv6Network
    service_cidr: IPv4Network | IPv6Network
    dns_domain: str
    bundle_dir: Path
    """Where the bundle lies on the controller."""
    registry_host: str
    registry_port: int
    gpu_mode: GpuMode
    simulated_gpus: int
    """GPUs that each GPU worker pretends to have when `gpu_mode` is `simulated`."""
    network_backend: NetworkBackend
    monitoring: MonitoringSettings = MonitoringSettings()
    gateway_port: int = Field(default=30443, ge=30000, le=32767)
    """Port at which every node answers clients."""
    gateway_replicas: int = Field(default=2, ge=1)
    gateway_workers: int = Field(default=4, ge=1)
    gateway_host: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$")
    gateway_tls_certificate: str = ""
    """The operator's own certificate, relative to the inventory; empty: llmprov makes one."""
    gateway_tls_key: str = ""
    gateway_max_body: str = Field(default="8Mi", pattern=r"^[1-9][0-9]*([EPTGMK]i|[EPTGMk])?$")
    gateway_drain_seconds: int = Field(default=600, ge=10)

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if bool(self.gateway_tls_certificate) != bool(self.gateway_tls_key):
            raise ValueError("give both gateway_tls_certificate and gateway_tls_key, or neither")
        return self


@runtime_checkable
class Resolver(Protocol):
    """What of an inventory only Ansible can answer."""

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Return the names of the hosts that an Ansible host pattern chooses."""
        ...

    def role_values(self, host: str, facts: Mapping[str, object]) -> Mapping[str, object]:
        """Return every role variable that bears on a host, by name, resolved with what a probe found there."""
        ...


class Inventory(Frozen):
    """A whole, valid inventory."""

    path: Path
    """What `-i` named: a directory or a hosts file."""
    hosts: tuple[Host, ...]
    settings: ClusterSettings
    models: tuple[ModelSpec, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is allowed but unwise, one line each."""
    resolver: Resolver | None = Field(default=None, repr=False, exclude=True)

    @property
    def ansible(self) -> Resolver:
        """What only Ansible can answer; an inventory that was not read from files has none."""
        if self.resolver is None:
            raise AssertionError("the inventory was not read from files")
        return self.resolver

    @property
    def directory(self) -> Path:
        """The directory that holds the hosts file, `group_vars/` and `models/`."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def control_plane(self) -> tuple[Host, ...]:
        """Hosts that run the Kubernetes control plane."""
        return self._in_group(CONTROL_PLANE)

    @property
    def first_control_plane(self) -> Host:
        """The host that runs `kubeadm init` and the registry."""
        return self.host(self.settings.first_control_plane)

    @property
    def workers(self) -> tuple[Host, ...]:
        """Hosts that run workloads, with and without GPUs."""
        return self._in_group(WORKERS)

    @property
    def gpu_workers(self) -> tuple[Host, ...]:
        """The workers that have GPUs."""
        return self._in_group(GPU_WORKERS)

    def without(self, names: Collection[str]) -> "Inventory":
        """Return the same inventory without some hosts; the settings stay."""
        return self.model_copy(update={"hosts": tuple(host for host in self.hosts if host.name not in names)})

    def host(self, name: str) -> Host:
        """Return the host of that name; `KeyError` if there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def model(self, name: str) -> ModelSpec:
        """Return the model of that name; `KeyError` if there is none."""
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)

    def _in_group(self, group: str) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if group in host.groups)
