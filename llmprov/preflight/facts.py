"""The facts of one host, as `plugins/modules/preflight_facts.py` returns them: typed, unjudged."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OperatingSystem(_Facts):
    """`id` and `version` as os-release gives them; `kernel` as `uname -r` does."""

    id: str
    version: str
    name: str = ""
    arch: str
    kernel: str


class Identity(_Facts):
    """What should tell a host from every other; `container` is empty on a machine, `init` names process 1."""

    hostname: str
    machine_id: str
    product_uuid: str = ""
    container: str = ""
    init: str


class Swap(_Facts):
    """One swap area, in bytes; not `visible` when it belongs to the machine that this container runs on."""

    name: str
    kind: str
    size: int
    used: int
    visible: bool


class Memory(_Facts):
    """Memory in bytes."""

    total: int
    available: int
    swaps: tuple[Swap, ...] = ()
    may_swapoff: bool = True


class ControlGroups(_Facts):
    """Version of control groups that systemd uses (1 or 2), and the controllers the kernel has."""

    version: int
    controllers: frozenset[str]


class Disk(_Facts):
    """The file system that holds, or would hold, a path; sizes in bytes; equal `device` means the same file system."""

    path: str
    device: int
    size: int
    free: int
    writable: bool = True


class Gpu(_Facts):
    """One NVIDIA GPU on the PCI bus; `driver` is the kernel module that holds it, or empty."""

    address: str
    device: str
    driver: str = ""


class Remains(_Facts):
    """Traces of software that llmprov installs itself."""

    paths: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    driver_packages: tuple[str, ...] = ()
    driver_version: str = ""
    nouveau: bool = False


class Listener(_Facts):
    """A process that listens on a TCP port; `process` is cut to 15 characters by the kernel."""

    port: int
    pid: int = 0
    process: str = ""
    unit: str = ""


class Interface(_Facts):
    """A network interface."""

    name: str
    mtu: int


class PeerFacts(_Facts):
    """The way to one other host.

    `mtu` is that of the interface that leads there. `ping` is a small ICMP echo, `large` one that fills the MTU without
    fragments. `tcp` is `open`, `refused`, `timeout`, or the system's own words.
    """

    name: str
    address: str
    source: str = ""
    mtu: int = 0
    ping: Literal["yes", "no", "unknown"] = "unknown"
    large: Literal["yes", "no", "unknown"] = "unknown"
    tcp: str = "unknown"

    @property
    def reached(self) -> bool:
        """Whether anything came back: an answer, or a refusal, which only the host itself can send."""
        return self.ping == "yes" or self.tcp in {"open", "refused"}


class HostFacts(_Facts):
    """Everything about one host. `started` and `ended` are the host's own clock, in seconds since 1970."""

    started: float
    ended: float
    os: OperatingSystem
    identity: Identity
    python: str
    system_state: str = ""
    cores: int
    memory: Memory
    cgroups: ControlGroups
    features: dict[str, Literal["loaded", "builtin", "loadable", "missing"]] = Field(default_factory=dict)
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    remains: Remains = Remains()
    stages: frozenset[str] = frozenset()
    time_service: str = ""
    firewalls: tuple[str, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    listeners: tuple[Listener, ...] = ()
    names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    peers: tuple[PeerFacts, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether llmprov has finished any stage here before."""
        return bool(self.stages)
