"""Who works on a cluster: a person's process on a controller, told apart from any other that was or will be."""

import getpass
import hashlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from llmprov.errors import BusyError

TAKEOVER_SECONDS = 60
"""A lock that was not renewed for so long counts as abandoned."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process, for all time.

    Attributes:
        machine: stands for the machine, not its id itself, which is nobody else's business.
        boot: stands for the boot and the pid namespace: a container's pids mean nothing outside it.
        pid: process id there.
        started: its start in clock ticks since the boot: a recycled pid has another one. 0 where it is not known.
    """

    machine: str = ""
    boot: str = ""
    pid: int = 0
    started: int = 0

    @classmethod
    def current(cls) -> Self:
        """Return this process."""
        return cls(_machine(), _boot(), os.getpid(), _started(os.getpid()) or 0)

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> Self:
        """Read what `asdict` made of one; what is missing or odd stays unknown."""
        return cls(
            machine=_text(fields, "machine"),
            boot=_text(fields, "boot"),
            pid=_whole(fields, "pid"),
            started=_whole(fields, "started"),
        )

    @property
    def gone(self) -> bool:
        """Whether it surely does not run any more; False whenever that cannot be seen from here."""
        if not self.visible:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's, so there is one
        started = _started(self.pid)
        # A /proc that hides other users' processes says nothing.
        return started is not None and started != self.started

    @property
    def visible(self) -> bool:
        """Whether it is, or was, a process of this boot and pid namespace: only of such is it known that they ended."""
        return self.pid > 0 and bool(self.started and self.boot) and (self.machine, self.boot) == (_machine(), _boot())

    @property
    def of_earlier_boot(self) -> bool:
        """Whether it ran on this machine before its last boot, or in a container of it that is not this one."""
        return self.pid > 0 and self.machine == _machine() and self.boot != _boot()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock: which user's process, on which controller, doing what.

    Attributes:
        verb: `install`, `reset`.
        run_id: of its journal.
    """

    user: str
    host: str
    verb: str
    run_id: str
    process: Process = field(default_factory=Process)

    @classmethod
    def current(cls, verb: str, run_id: str) -> Self:
        """Return this process as a holder."""
        return cls(user=_user(), host=socket.gethostname(), verb=verb, run_id=run_id, process=Process.current())

    @property
    def identity(self) -> str:
        """One line that no other holder has: `anna@ctl1/install/20260131T090000Z-install-1a2b3c/4711`."""
        return f"{self.user}@{self.host}/{self.verb}/{self.run_id}/{self.process.pid}"

    def to_json(self) -> str:
        """Write it as one line; it holds no secret."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote here or in another release; what cannot be read is unknown, not nobody."""
        try:
            found = json.loads(text)
        except ValueError:
            found = {}
        fields: Mapping[str, object] = found if isinstance(found, dict) else {}
        process = fields.get("process")
        return cls(
            user=_text(fields, "user") or "unknown",
            host=_text(fields, "host") or "unknown",
            verb=_text(fields, "verb") or "unknown",
            run_id=_text(fields, "run_id"),
            process=Process.from_fields(process if isinstance(process, dict) else {}),
        )


@dataclass(frozen=True, slots=True)
class Occupant:
    """A lock's holder as it was found.

    Attributes:
        held: seconds since it took the lock.
        silent: seconds since it renewed it last.
        where: the lock, for messages: `cp1:/run/llmprov-operator/lock.json`.
    """

    holder: Holder
    held: float
    silent: float
    where: str

    @property
    def abandoned(self) -> bool:
        """Whether the lock may be taken over."""
        return self.silent > TAKEOVER_SECONDS or self.holder.process.gone

    @property
    def takeover(self) -> str:
        """What is said when it is taken over."""
        who = f"{self.holder.user}@{self.holder.host} ({self.holder.verb}, run {self.holder.run_id})"
        if self.holder.process.gone:
            return f"took over the lock of {who}, {_ago(self.held)} old: its process {self.holder.process.pid} is gone"
        return f"took over the lock of {who}, {_ago(self.held)} old: no sign of life for {_ago(self.silent)}"

    def busy(self) -> BusyError:
        """Make the error of somebody who is not let in."""
        since = datetime.now(UTC) - timedelta(seconds=self.held)
        left = max(1, round(TAKEOVER_SECONDS - self.silent) + 1)
        return BusyError(
            f"{self.holder.user}@{self.holder.host} is working on this cluster: {self.holder.verb} since "
            f"{since:%Y-%m-%d %H:%M:%S} UTC ({_ago(self.held)}), last sign of life {_ago(self.silent)} ago",
            remedy=f"wait until it ends; if it is dead, the same command takes over in {left} s",
            details=(f"run {self.holder.run_id}, process {self.holder.process.pid}", f"lock: {self.where}"),
        )

    def lost_to(self) -> BusyError:
        """Make the error of somebody who held the lock and finds another one in it."""
        return BusyError(
            f"{self.holder.user}@{self.holder.host} has taken over this cluster: {self.holder.verb}, run "
            f"{self.holder.run_id}, since {_ago(self.held)}; this run was taken for dead and has stopped",
            remedy="let the other one end, then run the same command again: it goes on where it stopped",
            details=(f"lock: {self.where}",),
        )


def lost_unseen(where: str) -> BusyError:
    """Make the error of somebody who held a lock and finds that others had and released it meanwhile."""
    return BusyError(
        "somebody took this cluster over while this run was away, and has finished; this run has stopped",
        remedy="run the same command again: it goes on where it stopped",
        details=(f"lock: {where}",),
    )


def _ago(seconds: float) -> str:
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        return f"uid{os.getuid()}"


def _machine() -> str:
    return _stands_for(_read(Path("/etc/machine-id")) or socket.gethostname())


def _boot() -> str:
    return _stands_for(_read(Path("/proc/sys/kernel/random/boot_id")), str(Path("/proc/self/ns/pid").readlink()))


def _stands_for(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _started(pid: int) -> int | None:
    """Start time of a process (field 22 of its stat); None when it cannot be seen, 0 for one that is dead already."""
    # The second field is the program's name, in parentheses, and may hold anything.
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    if not fields:
        return None
    return 0 if fields[0] in {"Z", "X"} else int(fields[19])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _whole(fields: Mapping[str, object], key: str) -> int:
    value = fields.get(key)
    return value if isinstance(value, int) else 0
