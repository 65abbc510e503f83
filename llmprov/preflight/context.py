"""What every rule may look at besides a host's own facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmprov.inventory import Host, Inventory
from llmprov.preflight.facts import HostFacts
from llmprov.preflight.findings import Finding, Severity
from llmprov.preflight.needs import GIB, Needs


@dataclass(frozen=True, slots=True)
class Asked:
    """When the controller asked a host and when it had the answer: its own clock, in seconds since 1970."""

    sent: float
    received: float


@dataclass(frozen=True, slots=True)
class Context:
    """The inventory, what the installation needs, and the facts of all hosts that answered."""

    inventory: Inventory
    needs: Needs
    facts: Mapping[str, HostFacts]
    asked: Mapping[str, Asked] = field(default_factory=dict)

    def is_control_plane(self, host: Host) -> bool:
        """Whether the host runs the Kubernetes control plane."""
        return host in self.inventory.control_plane

    def is_worker(self, host: Host) -> bool:
        """Whether the host runs models."""
        return host in self.inventory.workers

    def has_registry(self, host: Host) -> bool:
        """Whether the host runs the cluster's registry."""
        return host.name == self.inventory.settings.first_control_plane


def error(host: Host | str, check: str, problem: str, remedy: str) -> Finding:
    """Return a finding that forbids the installation."""
    return Finding(host if isinstance(host, str) else host.name, check, problem, remedy)


def warning(host: Host | str, check: str, problem: str, remedy: str) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(host if isinstance(host, str) else host.name, check, problem, remedy, Severity.WARNING)


def gib(size: float) -> str:
    """Return a size in bytes as people say it."""
    return f"{size / GIB:.1f} GiB"
