"""What the journals of past runs say, as values: `workflows.runs` reads them, `report.history` prints them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path


class Outcome(StrEnum):
    """How a run ended."""

    OK = "ok"
    FAILED = "failed"
    KILLED = "killed"
    """It has no end, and its process is gone."""
    RUNNING = "running"
    UNKNOWN = "unknown"
    """It has no end, and its process cannot be seen from here: it began on another machine or in another container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run.

    Attributes:
        id: its directory's name; sorts by time.
        inventory: as the user gave it; empty where the journal does not say.
        message: the error of a failed one.
        seconds: from its beginning to its end; to its last sign for one that was killed, to now for one that runs.
        hosts: that Ansible worked on, in the order in which they appear.
        changed: tasks that changed something, over all hosts.
        journal: the file.
        problems: lines of the journal that cannot be read.
    """

    id: str
    verb: str
    inventory: str
    began: datetime
    outcome: Outcome
    message: str
    seconds: float
    hosts: tuple[str, ...]
    changed: int
    journal: Path
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRow:
    """A phase of a run: `started` seconds after its beginning; other phases may have run `beside` it."""

    name: str
    started: float
    seconds: float
    beside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task on one host, as it ended; `delegated_to` is where it really ran when that is another host."""

    host: str
    stage: str
    role: str
    task: str
    status: str
    seconds: float
    message: str
    delegated_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tasks of one host in one stage; `ok` counts those that changed something too, as Ansible does.

    Attributes:
        seconds: that these tasks took together.
    """

    host: str
    stage: str
    ok: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegated:
    """Tasks that ran on a host though they belong to others: `count` of them, `changed` of these changed something."""

    host: str
    count: int
    changed: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails:
    """All of one run.

    Attributes:
        counts: in the order in which stages and hosts appear.
        failures: of hosts that did not come through; failures that were rescued are none.
        slowest: the slowest tasks, slowest first.
    """

    run: Run
    phases: tuple[PhaseRow, ...]
    counts: tuple[Counts, ...]
    failures: tuple[TaskRow, ...]
    delegated: tuple[Delegated, ...]
    slowest: tuple[TaskRow, ...]
