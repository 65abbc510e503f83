"""The one family of errors a user sees: what is wrong, what to do, and the exit code that scripts can rely on."""

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes, documented in docs/exit-codes.md."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    INVENTORY = 3
    PREFLIGHT = 4
    BUNDLE = 5
    CONNECTION = 6
    INSTALL = 7
    CLUSTER = 8
    LAB = 9
    MODEL = 10
    PARTIAL = 11
    BUSY = 12
    INTERRUPTED = 130


class LlmprovError(Exception):
    """An expected failure.

    Args:
        message: what is wrong, where, and the value seen; one sentence.
        remedy: what the user does about it; one sentence or a command.
        details: further lines, one finding each (all findings are reported at once).
    """

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, *, remedy: str = "", details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = details


class InventoryError(LlmprovError):
    """The inventory cannot be read or does not validate."""

    exit_code = ExitCode.INVENTORY


class PreflightError(LlmprovError):
    """Hosts are not fit for installation; nothing was changed."""

    exit_code = ExitCode.PREFLIGHT


class BundleError(LlmprovError):
    """An artifact is missing, corrupt or cannot be obtained."""

    exit_code = ExitCode.BUNDLE


class HostConnectionError(LlmprovError):
    """A host cannot be reached, or refuses the login or privilege escalation."""

    exit_code = ExitCode.CONNECTION


class InstallError(LlmprovError):
    """A stage failed on a host."""

    exit_code = ExitCode.INSTALL


class ClusterError(LlmprovError):
    """The Kubernetes API refused a request, or an object did not become ready."""

    exit_code = ExitCode.CLUSTER


class ShortOfNodesError(ClusterError):
    """Some replicas of a workload are ready; for the others no node has room."""


class LabError(LlmprovError):
    """The lab cannot be started, stopped or found."""

    exit_code = ExitCode.LAB


class ModelError(LlmprovError):
    """A model directory, artifact or deployment is not usable."""

    exit_code = ExitCode.MODEL


class BusyError(LlmprovError):
    """Somebody else is changing this cluster, or has taken the work over."""

    exit_code = ExitCode.BUSY


def joined[E: LlmprovError](kind: type[E], message: str, errors: Sequence[LlmprovError]) -> E:
    """Make one error of several, with the words of each below the message; a single one keeps its own."""
    first = errors[0]
    if len(errors) == 1:
        return kind(first.message, remedy=first.remedy, details=first.details)
    lines = (line for error in errors for line in (error.message, *(f"  {text}" for text in error.details)))
    return kind(message, remedy=first.remedy, details=tuple(lines))
