"""What preflight found, and the report that holds it."""

from dataclasses import dataclass, field
from enum import StrEnum

from llmprov.errors import ExitCode, HostConnectionError, PreflightError

CONNECTION = "connection"
"""The check that every other one depends on; when only it fails, the exit code is that of connections."""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The installation would fail, or give a cluster that does not work."""
    WARNING = "warning"
    """The installation goes on; somebody should know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing, about one host or between hosts.

    Attributes:
        host: the host, or several, comma-separated; empty for the whole cluster.
        check: what was checked, as docs/preflight.md names it.
        problem: what is wrong and the value seen.
        remedy: what to do.
    """

    host: str
    check: str
    problem: str
    remedy: str
    severity: Severity = Severity.ERROR

    @property
    def line(self) -> str:
        """The finding as one line."""
        where = f"{self.host}: " if self.host else ""
        return f"{where}{self.problem} → {self.remedy}"


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """All findings of one run.

    Attributes:
        hosts: the hosts that were asked.
        seconds: how long it took.
    """

    hosts: tuple[str, ...]
    findings: tuple[Finding, ...] = field(default=())
    seconds: float = 0.0

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that forbid an installation."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that do not."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.WARNING)

    @property
    def exit_code(self) -> ExitCode:
        """0, 4 for unfit hosts, 6 when every error is one of reaching hosts."""
        if not self.errors:
            return ExitCode.OK
        unreached = all(finding.check == CONNECTION for finding in self.errors)
        return ExitCode.CONNECTION if unreached else ExitCode.PREFLIGHT

    def raise_for_errors(self) -> None:
        """Raise one error that holds every finding.

        Raises:
            HostConnectionError: hosts cannot be reached, and nothing else was found.
            PreflightError: hosts are not fit.
        """
        if not self.errors:
            return
        kind = HostConnectionError if self.exit_code is ExitCode.CONNECTION else PreflightError
        hosts = sorted({name for finding in self.errors for name in finding.host.split(", ") if name})
        count = "1 error" if len(self.errors) == 1 else f"{len(self.errors)} errors"
        where = f" on {', '.join(hosts)}" if hosts else ""
        raise kind(
            f"preflight found {count}{where}",
            remedy="put the hosts right and run the same command again; nothing was changed on them",
            details=tuple(finding.line for finding in self.errors),
        )
