"""What a probe found on a host: values, as the host's own script reported them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmprov.stages import StageRecord

type Facts = Mapping[str, object]
"""What roles see as `ansible_facts.llmprov`."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file that a stage manages: its sha256 now (None when it is gone), and how it differs from what was written.

    `difference` is a unified diff, or empty where the record holds no copy of what was written.
    """

    sha256: str | None
    difference: str = ""


@dataclass(frozen=True, slots=True)
class UnitState:
    """A systemd unit, in systemd's own words: `LoadState`, `ActiveState`, `UnitFileState`."""

    load: str
    active: str
    enabled: str

    @property
    def trouble(self) -> str:
        """Why a unit that should run does not; empty when it does."""
        if self.load != "loaded":
            return self.load
        return "" if self.active in {"active", "activating", "reloading"} else self.active


@dataclass(frozen=True, slots=True)
class HostProbe:
    """One host, as one call found it.

    Attributes:
        host: its name in the inventory.
        facts: what the roles branch on.
        boot_id: changes with every boot.
        records: of finished stages, by stage.
        damaged: stages whose record cannot be read, with the reason.
        newer: stages whose record a newer llmprov wrote, with its schema.
        files: every file that a record names, by path.
        units: every unit that a record names, by name.
        packages: version of every package that a record names; None when it is not installed.
        images: on the first control plane, `repository:tag` of the registry's content with its digest; else empty.
    """

    host: str
    facts: Facts
    boot_id: str = ""
    records: Mapping[str, StageRecord] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    newer: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, FileState] = field(default_factory=dict)
    units: Mapping[str, UnitState] = field(default_factory=dict)
    packages: Mapping[str, str | None] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)

    @property
    def joined(self) -> bool:
        """Whether the host is a member of a cluster."""
        return self._kubernetes("kubelet_joined")

    @property
    def control_plane(self) -> bool:
        """Whether it is a complete control plane."""
        return self._kubernetes("control_plane")

    def _kubernetes(self, key: str) -> bool:
        kubernetes = self.facts.get("kubernetes")
        return isinstance(kubernetes, Mapping) and bool(kubernetes.get(key))


@dataclass(frozen=True, slots=True)
class Unprobed:
    """A host that did not answer: why, and what to do."""

    host: str
    problem: str
    remedy: str
