"""What the long verbs end with: values that workflows make and `report` prints."""

from dataclasses import dataclass, replace
from pathlib import Path

from llmprov.runner import RunResult


@dataclass(frozen=True)
class Phase:
    """One part of a run.

    Attributes:
        name: `runtime`, `push vllm`.
        started: seconds from the beginning of the run; phases may overlap.
        seconds: how long it took.
        beside: whether the run went on with other phases meanwhile.
    """

    name: str
    started: float
    seconds: float
    beside: bool = False


@dataclass(frozen=True)
class Pulled:
    """One image that one host pulled ahead; `seconds` from the pull's start to its last layer unpacked."""

    host: str
    image: str
    seconds: float


@dataclass(frozen=True)
class EngineStart:
    """One replica: `seconds` from its container's start to ready, None where the cluster no longer knows."""

    node: str
    pod: str
    seconds: float | None


@dataclass(frozen=True)
class Served:
    """A model that answers, and at which URL inside the cluster."""

    name: str
    endpoint: str


@dataclass(frozen=True)
class Objects:
    """What became of the Kubernetes objects.

    Attributes:
        changes: how many were created, changed or deleted.
        models: those that answer now; empty when the install ended before.
        starts: how long the engines of replicas that this run started took.
    """

    changes: int = 0
    models: tuple[Served, ...] = ()
    starts: tuple[EngineStart, ...] = ()

    def plus(self, changes: int) -> "Objects":
        """Return the same with more changes."""
        return replace(self, changes=self.changes + changes)


@dataclass(frozen=True)
class SetAside:
    """A host that a run went on without: why, and what to do about it; `connection` when it could not be reached."""

    host: str
    problem: str
    remedy: str
    connection: bool = False

    @property
    def line(self) -> str:
        """The same as one line."""
        return f"{self.host}: {self.problem}"


@dataclass(frozen=True)
class InstallResult:
    """A finished install.

    Attributes:
        inventory: as the user named it.
        check: whether nothing was to change.
        warnings: of the inventory and of preflight, one line each, with the remedy.
        hosts: outcome by host, with the number of changes.
        changes: tasks that changed something (would have, in check mode), as `host: task`.
        objects: None when the install ended before there was a cluster.
        phases: where the time went.
        pulls: images that the workers pulled ahead in this run.
        set_aside: hosts that the run went on without.
        seconds: from start to end.
    """

    inventory: Path
    check: bool
    warnings: tuple[str, ...]
    hosts: RunResult
    changes: tuple[str, ...]
    objects: Objects | None
    phases: tuple[Phase, ...]
    pulls: tuple[Pulled, ...]
    seconds: float
    set_aside: tuple[SetAside, ...] = ()


@dataclass(frozen=True)
class ResetResult:
    """A finished reset; `seconds` from start to end."""

    hosts: RunResult
    seconds: float
