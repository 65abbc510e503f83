"""Control groups of lab hosts. Standard library only: the supervisor imports this module, and there is one per host.

Without a group of its own a host's systemd and kubelet manage the machine's own groups, and two hosts fight over them.
Groups are made below the hierarchies that are already mounted; the machine's mounts and groups are never changed.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmprov.errors import LabError
from llmprov.lab import machine
from llmprov.lab.tools import wait_until

_TOP = "llmprov-lab"
_ENABLED_BY_US = "trusted.llmprov.enabled"
_V1_COPIED = ("cpuset.cpus", "cpuset.mems")
_KILL_TIMEOUT_S = 15


@dataclass(frozen=True)
class Hierarchies:
    """The mounted cgroup file systems: one when `unified`, several otherwise."""

    unified: bool
    mounts: tuple[Path, ...]


def detect(mountinfo: str | None = None) -> Hierarchies:
    """Find out which cgroup version this machine runs.

    Args:
        mountinfo: contents of /proc/self/mountinfo, read when left out.
    """
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        mount, kind = before.split()[4], after.split()[0]
        if kind in ("cgroup", "cgroup2") and mount.startswith("/sys/fs/cgroup"):
            found.append((Path(mount), kind))
    if not found:
        raise LabError("no cgroup file system is mounted below /sys/fs/cgroup", remedy="mount cgroup2 there")
    unified = (Path("/sys/fs/cgroup"), "cgroup2") in found
    return Hierarchies(unified, tuple(mount for mount, _ in found))


def hosts_of(lab: str) -> set[str]:
    """Names of a lab's hosts that have groups, known or forgotten by the lab's files."""
    tops = [mount / _TOP / lab for mount in detect().mounts]
    return {child.name for top in tops if top.is_dir() for child in top.iterdir() if child.is_dir()}


@dataclass(frozen=True)
class HostGroup:
    """The groups of one host, one in every hierarchy."""

    hierarchies: Hierarchies
    lab: str
    host: str

    @property
    def paths(self) -> tuple[Path, ...]:
        """The host's directory in every hierarchy."""
        return tuple(mount / _TOP / self.lab / self.host for mount in self.hierarchies.mounts)

    @property
    def entrances(self) -> tuple[Path, ...]:
        """The groups that nspawn has to be in when it starts.

        On cgroup v2 a group with controllers below it takes no process, and nspawn finds its place by the name
        `supervisor`: the host then runs in `payload` beside it, with every controller that the machine has.
        """
        return tuple(path / "supervisor" if self.hierarchies.unified else path for path in self.paths)

    def create(self, memory_bytes: int | None) -> None:
        """Make the groups, empty and with the memory limit set."""
        machine.remember(self.hierarchies.mounts[0] / _TOP)
        for mount, path, entrance in zip(self.hierarchies.mounts, self.paths, self.entrances, strict=True):
            for directory in (path.parent.parent, path.parent, path, entrance):
                if self.hierarchies.unified and directory.parent == mount:
                    _delegate_root(mount)
                elif self.hierarchies.unified:
                    _delegate(directory.parent)
                directory.mkdir(exist_ok=True)
                if not self.hierarchies.unified:
                    _copy_cpuset(directory)
            if memory_bytes is not None:
                _limit_memory(mount, path, memory_bytes, unified=self.hierarchies.unified)

    def pids(self) -> set[int]:
        """Every process in the groups, in the numbering of this machine."""
        found: set[int] = set()
        for path in self.paths:
            for group in _walk(path):
                found.update(_read_pids(group))
        return found

    def kill(self) -> None:
        """End every process at once, as a power cut would, and wait until they are gone."""

        def gone() -> bool:
            pids = self.pids()
            for pid in pids:
                _kill(pid)
            return not pids

        if not wait_until(gone, _KILL_TIMEOUT_S):
            pids = ", ".join(str(pid) for pid in sorted(self.pids()))
            raise LabError(
                f"processes of lab host {self.host} do not end: {pids}",
                remedy="one in state D in `ps` waits for a disk; run the same command again when it is gone",
            )

    def remove(self) -> None:
        """Remove the groups and, when this was the last host, the lab's; no process may be left in them."""
        for path in self.paths:
            # A group stays busy for a moment after its last process has gone.
            if not wait_until(lambda path=path: _remove_tree(path), _KILL_TIMEOUT_S):  # type: ignore[misc]
                raise LabError(
                    f"cgroup {path} cannot be removed",
                    remedy="see which processes its cgroup.procs names, then run the same command again",
                )
            _remove(path.parent)
            _remove_top(path.parent.parent)


def _walk(path: Path) -> Iterator[Path]:
    """Every group at and below `path`, the deepest first."""
    for directory, _, _ in os.walk(path, topdown=False):
        yield Path(directory)


def _remove_tree(path: Path) -> bool:
    left = [group for group in _walk(path) if not _remove(group)]
    return not left


def _remove(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _read_pids(group: Path) -> set[int]:
    try:
        return {int(line) for line in (group / "cgroup.procs").read_text().split()}
    except OSError:  # removed meanwhile, or a threaded group: its processes are listed by the parent
        return set()


def _kill(pid: int) -> None:
    if pid > 0:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _copy_cpuset(group: Path) -> None:
    """A new cpuset is empty and takes no process until it has CPUs and memory nodes."""
    for name in _V1_COPIED:
        file = group / name
        if file.exists() and not file.read_text().strip():
            file.write_text((group.parent / name).read_text())


def _delegate_root(mount: Path) -> None:
    """Enable every controller of the machine, remembering which ones were not: they are disabled again at the end."""
    top = mount / _TOP
    top.mkdir(exist_ok=True)
    ours = [*_enabled_by_us(top), *_missing_controllers(mount)]
    os.setxattr(top, _ENABLED_BY_US, " ".join(ours).encode())
    _delegate(mount)


def _remove_top(top: Path) -> None:
    if not top.exists():
        return
    ours, settings = _enabled_by_us(top), machine.remembered(top)
    if _remove(top):
        machine.restore(settings)
        for name in ours:
            _write_controller(top.parent, f"-{name}")


def _enabled_by_us(top: Path) -> list[str]:
    return os.getxattr(top, _ENABLED_BY_US).decode().split() if _ENABLED_BY_US in os.listxattr(top) else []


def _write_controller(group: Path, change: str) -> None:
    """Refused when another group uses the controller meanwhile, and then rightly so."""
    try:
        (group / "cgroup.subtree_control").write_text(change)
    except OSError:
        return


def _missing_controllers(group: Path) -> list[str]:
    available = (group / "cgroup.controllers").read_text().split()
    enabled = (group / "cgroup.subtree_control").read_text().split()
    return [name for name in available if name not in enabled]


def _delegate(group: Path) -> None:
    """Give the groups below `group` every controller that it has itself (cgroup v2)."""
    missing = _missing_controllers(group)
    try:
        for name in missing:
            (group / "cgroup.subtree_control").write_text(f"+{name}")
    except OSError as error:
        raise LabError(
            f"controllers {', '.join(missing)} cannot be enabled in {group}: {error.strerror}",
            remedy="run the lab where processes are not kept in that group itself, outside a container",
        ) from error


def _limit_memory(mount: Path, path: Path, limit: int, *, unified: bool) -> None:
    if unified:
        (path / "memory.max").write_text(str(limit))
    elif (path / "memory.limit_in_bytes").exists() and "memory" in mount.name:
        (path / "memory.limit_in_bytes").write_text(str(limit))
