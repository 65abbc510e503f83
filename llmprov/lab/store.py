"""Where a lab keeps its files, and the lock that lets one command at a time change it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmprov import paths
from llmprov.errors import LabError
from llmprov.lab.spec import LabSpec
from llmprov.progress import NullProgress, Progress


@dataclass(frozen=True)
class HostFiles:
    """The files of one host below `root`."""

    root: Path

    @property
    def plan(self) -> Path:
        """What the supervisor needs to boot the host; written last, so its presence means the host is complete."""
        return self.root / "plan.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as the host runs; contains its process id."""
        return self.root / "supervisor.lock"

    @property
    def console(self) -> Path:
        """What the host and nspawn print."""
        return self.root / "console.log"


@dataclass(frozen=True)
class LabFiles:
    """The files of one lab below `root`."""

    root: Path

    @property
    def spec(self) -> Path:
        """The lab's validated description."""
        return self.root / "lab.json"

    @property
    def network(self) -> Path:
        """The directory of namespaces."""
        return self.root / "net"

    @property
    def key(self) -> Path:
        """The private key that logs in to every host of the lab."""
        return self.root / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' public keys."""
        return self.root / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """The ssh_config that `llmprov lab ssh` uses, whatever becomes of the inventory's."""
        return self.root / "ssh.cfg"

    @property
    def written(self) -> Path:
        """The inventory files that `up` wrote, with their digests, so that `destroy` removes them."""
        return self.root / "written.json"

    @property
    def hosts(self) -> Path:
        """The directory of hosts."""
        return self.root / "hosts"

    def host(self, name: str) -> HostFiles:
        """The files of one host."""
        return HostFiles(self.hosts / name)


def files(name: str) -> LabFiles:
    """The files of the lab called `name`, whether it exists or not."""
    return LabFiles(_top() / name)


def load_spec(name: str) -> LabSpec:
    """Read the description of a lab that `up` has made.

    Raises:
        LabError: there is no such lab.
    """
    spec = find_spec(name)
    if spec is None:
        raise LabError(f"there is no lab {name}", remedy="start one: llmprov lab up")
    return spec


def find_spec(name: str) -> LabSpec | None:
    """Read the description of a lab, None when there is no such lab."""
    file = files(name).spec
    return LabSpec.model_validate_json(file.read_text()) if file.exists() else None


def save_spec(spec: LabSpec) -> None:
    """Write the description of a lab, whole or not at all."""
    write_whole(files(spec.name).spec, spec.model_dump_json(indent=1))


def write_whole(file: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file so that a reader or a crash never sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = file.with_name(file.name + ".partial")
    descriptor = os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    partial.replace(file)


@contextmanager
def locked(name: str, progress: Progress | None = None) -> Iterator[None]:
    """Keep other commands from changing the lab; the lock file goes when the lab is gone."""
    _top().mkdir(parents=True, exist_ok=True, mode=0o700)
    file = _top() / f"{name}.lock"
    descriptor = _take(file, progress or NullProgress())
    try:
        yield
    finally:
        if not files(name).root.exists():
            file.unlink(missing_ok=True)
        os.close(descriptor)


def _take(file: Path, progress: Progress) -> int:
    while True:
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step("lock", "another command is changing this lab"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The holder before us may have removed the file: then ours is a lock on nothing.
        if file.exists() and os.fstat(descriptor).st_ino == file.stat().st_ino:
            return descriptor
        os.close(descriptor)


def _top() -> Path:
    return paths.state_dir() / "lab"
