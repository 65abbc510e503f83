"""The operators' lock on a host: there before a cluster is, and whatever state that is in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from llmprov import ssh
from llmprov.errors import BusyError, HostConnectionError
from llmprov.holders import TAKEOVER_SECONDS, Holder, Occupant, lost_unseen
from llmprov.ssh import RemoteResult, SshTarget
from llmprov.workflows import lock_script

DIRECTORY = "/run/llmprov-operator"
"""Of its own: a reset removes /run/llmprov while it holds the lock."""
_SECONDS = 30.0

type Run = Callable[[list[str], bytes], RemoteResult]
"""Runs a command that reads some input."""


class _Other(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    holder: str
    held: float
    silent: float


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["mine", "held", "lost", "free"]
    boot: str
    other: _Other | None = None


class HostLock:
    """The lock file on one host, taken and kept by steps of a small program that runs there under sudo.

    Args:
        host: its name for messages.
        run: runs a command there.
        sudo_password: what gives sudo's password; None where it needs none.
        directory: where the lock is.
    """

    program: ClassVar[str] = Path(lock_script.__file__).read_text(encoding="utf-8")

    def __init__(
        self, host: str, run: Run, sudo_password: Callable[[], str] | None = None, *, directory: str = DIRECTORY
    ) -> None:
        self._host = host
        self._run = run
        self._sudo_password = sudo_password
        self._directory = directory
        self._boot = ""

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self._host}:{self._directory}/{lock_script.NAME}"

    def take(self, holder: Holder) -> Occupant | None:
        """Take the lock; return whose it was when it was abandoned.

        Raises:
            BusyError: somebody holds it.
            HostConnectionError: the host cannot be reached, or sudo is refused.
        """
        reply = self._ask("take", holder)
        other = self._occupant(reply)
        if reply.state == "held" and other is not None and other.abandoned:
            # Only this machine can tell that its process is dead; only the host can swap. So it is named to the host.
            reply = self._ask("take", holder, evict=reply.other.holder if reply.other else "")
            other = self._occupant(reply) or other
        if reply.state != "mine":
            raise other.busy() if other else _odd(self.name, reply.state)
        self._boot = reply.boot
        return other

    def renew(self, holder: Holder) -> None:
        """Say that the holder lives; a lock that went with the host's reboot is made again.

        Raises:
            BusyError: somebody has taken over.
            HostConnectionError: the host cannot be reached, or sudo is refused.
        """
        reply = self._ask("renew", holder)
        other = self._occupant(reply)
        if reply.state == "held" and other is not None:
            raise other.lost_to()
        if reply.state == "lost":
            raise other.lost_to() if other else lost_unseen(self.name)
        self._boot = reply.boot

    def release(self, holder: Holder) -> None:
        """Give the lock back; one that is somebody else's stays.

        Raises:
            HostConnectionError: the host cannot be reached, or sudo is refused.
        """
        self._ask("release", holder)

    def _ask(self, action: str, holder: Holder, *, evict: str = "") -> _Answer:
        request: dict[str, str] = {
            "action": action,
            "holder": holder.to_json(),
            "evict": evict,
            "boot": self._boot,
            "takeover": str(TAKEOVER_SECONDS),
        }
        sudo, secret = ssh.sudo(self._sudo_password)
        # The request is no secret, and beside a password that sudo may not ask for, input could not be told apart.
        program = ["python3", "-I", "-c", self.program, self._directory, json.dumps(request)]
        result = self._run([*sudo, *program], secret)
        try:
            return _Answer.model_validate_json(result.stdout)
        except ValidationError as error:
            raise HostConnectionError(
                f"{self._host}: the lock {self.name} cannot be worked with as root",
                remedy=f"check that sudo lets the user run python3 on {self._host}, and its password in the inventory",
                details=tuple(result.stderr.splitlines()[-5:]),
            ) from error

    def _occupant(self, reply: _Answer) -> Occupant | None:
        other = reply.other
        if other is None:
            return None
        return Occupant(Holder.from_json(other.holder), other.held, other.silent, self.name)


def over_ssh(target: SshTarget) -> Run:
    """Return what runs commands on a host."""
    return lambda argv, stdin: ssh.run(target, argv, stdin=stdin, timeout=_SECONDS)


def _odd(where: str, state: str) -> BusyError:
    return BusyError(f"the lock {where} is {state}, but has no holder", remedy="run the same command again")
