"""What a failure was, and what the user does about it."""

import re
from dataclasses import dataclass
from enum import StrEnum

from llmprov.runner.events import RunEvent, Status


class Cause(StrEnum):
    """Why a host failed."""

    HOST_KEY = "host key"
    AUTHENTICATION = "authentication"
    SUDO = "sudo"
    PYTHON = "python"
    UNREACHABLE = "unreachable"
    TASK = "task"


CONNECTION_CAUSES = frozenset({Cause.HOST_KEY, Cause.AUTHENTICATION, Cause.SUDO, Cause.UNREACHABLE})

# In this order: ssh's words for a changed key and a refused login also contain words of the later ones.
_PATTERNS: tuple[tuple[Cause, re.Pattern[str]], ...] = tuple(
    (cause, re.compile("|".join(words), re.IGNORECASE))
    for cause, words in (
        (
            Cause.HOST_KEY,
            (
                "host key verification failed",
                "host identification has changed",
                "host key is not known",
                "host key checking",
            ),
        ),
        (
            Cause.SUDO,
            (
                "(missing|incorrect) sudo password",
                r"(sudo|become)\b[^\n]*(password|sorry|required|incorrect|not allowed)",
                "a password is required",
                "not in the sudoers",
                "sorry, try again",
            ),
        ),
        (Cause.AUTHENTICATION, ("permission denied", "authentication fail", "too many authentication")),
        (Cause.PYTHON, (r"python[\w./]*[^\n]*(not found|no such file)",)),
    )
)

_SUDO_REFUSED = re.compile("(missing|incorrect) sudo password|a password is required|sorry, try again", re.IGNORECASE)

_REMEDIES = {
    Cause.HOST_KEY: (
        "compare the key with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host's console; when it is "
        "right, remove the old one with `ssh-keygen -R {address}` and connect once by hand"
    ),
    Cause.AUTHENTICATION: "check ansible_user and the key with `ssh {address}`; the login must work without a question",
    Cause.SUDO: "give the user sudo without password, or set ansible_become_password from Ansible Vault",
    Cause.PYTHON: "install python3 on the host",
    Cause.UNREACHABLE: "check that the host is up and that `ssh {address}` works from here",
    Cause.TASK: "mend what the message names and run the same command again; it goes on where it stopped",
}


@dataclass(frozen=True)
class Failure:
    """One host's failure.

    Attributes:
        message: what the module or ssh said, without ornaments.
        remedy: what to do about it.
    """

    host: str
    stage: str
    task: str
    message: str
    cause: Cause
    remedy: str

    @property
    def line(self) -> str:
        """The failure as one finding: host, stage, task, message."""
        place = ", ".join(
            part for part in (self.stage and f"stage {self.stage}", self.task and f"task {self.task!r}") if part
        )
        return f"{self.host}{f' ({place})' if place else ''}: {self.message}"


def from_event(event: RunEvent) -> Failure:
    """Classify a failed or unreachable result."""
    cause = classify(event.message, unreachable=event.status is Status.UNREACHABLE)
    remedy = _REMEDIES[cause].format(address=event.host)
    return Failure(event.host, event.stage, event.task, tidy(event.message), cause, remedy)


def classify(message: str, *, unreachable: bool) -> Cause:
    """Say what stopped a host; only a refused sudo is told from a task's own failure by its words alone."""
    cause = next((cause for cause, pattern in _PATTERNS if pattern.search(message)), None)
    if unreachable:
        return cause or Cause.UNREACHABLE
    return Cause.SUDO if cause is Cause.SUDO and _SUDO_REFUSED.search(message) else Cause.TASK


def tidy(message: str) -> str:
    """Drop the wrapping that ssh and Ansible put around the words that matter, and blank lines."""
    lines = [line.strip().strip("@").strip() for line in message.replace("\r", "\n").splitlines()]
    return " / ".join(line for line in lines if line and not line.startswith(("debug1:", "Warning: Permanently added")))
