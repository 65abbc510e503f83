"""What a run of a playbook left: per host, per task where asked for, and the failures as errors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmprov.errors import HostConnectionError, InstallError, LlmprovError
from llmprov.runner.events import RunEvent
from llmprov.runner.failures import CONNECTION_CAUSES, Failure


@dataclass(frozen=True)
class HostOutcome:
    """How one host came through.

    Attributes:
        ok, changed, skipped, failed: numbers of tasks; `ok` counts changed ones too, as Ansible does.
        failure: what stopped the host; None when nothing did.
    """

    host: str
    ok: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0
    unreachable: bool = False
    failure: Failure | None = None


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        rc: ansible-playbook's exit status.
        seconds: wall-clock time.
        hosts: one outcome a host, in the order of first appearance.
        collected: the results asked for with `collect`, in order.
        output: Ansible's own errors (a playbook it cannot read, an inventory it refuses).
        journal: the journal file.
        peak_memory: the most memory that the controller's processes held together, in bytes; 0 when not measured.
    """

    rc: int
    seconds: float
    hosts: tuple[HostOutcome, ...]
    collected: tuple[RunEvent, ...] = field(default=(), repr=False)
    output: tuple[str, ...] = ()
    journal: Path = Path()
    peak_memory: int = 0

    @property
    def ok(self) -> bool:
        """Whether every host came through."""
        return self.rc == 0 and not self.failures

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(outcome.changed for outcome in self.hosts)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What stopped hosts, one entry a host."""
        return tuple(outcome.failure for outcome in self.hosts if outcome.failure)

    def plus(self, outcomes: Iterable[HostOutcome]) -> "RunResult":
        """Return the same with outcomes of further hosts."""
        return replace(self, hosts=(*self.hosts, *outcomes))

    def returned(self, name: str) -> dict[str, Mapping[str, object]]:
        """What the task or module called `name` returned last, by host; it must have been named in `collect`."""
        return {event.host: event.returned for event in self.collected if name in (event.task, event.action)}

    def raise_for_failures(self, doing: str) -> None:
        """Raise one error that names every failed host.

        Args:
            doing: what was going on, for the message: `install`.

        Raises:
            HostConnectionError: every failed host refused the connection, login or privilege.
            InstallError: a task failed somewhere, or Ansible could not run at all.
        """
        if self.failures:
            raise _error_for(doing, self.failures, self.journal)
        if self.rc != 0:
            raise InstallError(
                f"{doing} failed before it reached a host: ansible-playbook ended with status {self.rc}",
                details=self.output[-20:],
                remedy="run again with --debug to see Ansible's own output",
            )


def _error_for(doing: str, failures: tuple[Failure, ...], journal: Path) -> LlmprovError:
    kind = HostConnectionError if all(failure.cause in CONNECTION_CAUSES for failure in failures) else InstallError
    names = ", ".join(failure.host for failure in failures)
    remedies = list(dict.fromkeys(failure.remedy for failure in failures))
    return kind(
        f"{doing} failed on {len(failures)} host{'s' if len(failures) > 1 else ''}: {names}",
        details=tuple(failure.line for failure in failures),
        remedy=f"{'; '.join(remedies)} (journal: {journal})",
    )
