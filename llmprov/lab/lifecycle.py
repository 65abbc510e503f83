"""The lab's verbs: up, status, down, destroy and the faults. Each reads like its own table of contents."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from llmprov.errors import LabError
from llmprov.lab import access, base, identity, network, requirements, store
from llmprov.lab.cgroups import HostGroup, detect, hosts_of
from llmprov.lab.host import Host, of
from llmprov.lab.spec import HostSpec, LabSpec, Suite
from llmprov.lab.tools import wait_until
from llmprov.progress import NullProgress, NullStep, Progress, Step

_AT_ONCE = 4 * (os.cpu_count() or 1)
_SSH_TIMEOUT_S = 90
_POWEROFF_TIMEOUT_S = 60


@dataclass(frozen=True)
class HostStatus:
    """How a host is right now.

    Attributes:
        state: off, booting (runs, SSH does not answer yet), cut (runs, its cable is pulled) or ready.
    """

    name: str
    address: str
    groups: tuple[str, ...]
    suite: str
    state: str
    memory: str | None
    disk: str | None


@dataclass(frozen=True)
class LabStatus:
    """How a lab is right now."""

    name: str
    inventories: tuple[str, ...]
    hosts: tuple[HostStatus, ...]


@dataclass(frozen=True)
class UpResult:
    """What `up` did, and how long each phase took in seconds."""

    status: LabStatus
    phases: tuple[tuple[str, float], ...]


def up(spec: LabSpec, inventory: Path, progress: Progress | None = None) -> UpResult:
    """Bring every host of the lab up; hosts that already run are left alone.

    Raises:
        LabError: a requirement is missing, the lab exists with other hosts, or a host does not come up.
    """
    steps = progress or NullProgress()
    requirements.check()
    clock = _Clock()
    with store.locked(spec.name, steps):
        _check_same(spec)
        _check_binds(spec)
        bases = {suite: base.ensure(suite, steps) for suite in {spec.suite(host) for host in spec.hosts}}
        clock.lap("base")
        with steps.step("hosts", "files and network"):
            hosts = _make(spec, inventory, bases)
        clock.lap("files and network")
        with steps.step("boot", f"{len(hosts)} hosts") as step:
            _boot(hosts, step)
        clock.lap("boot to SSH")
    return UpResult(status(spec.name), tuple(clock.laps))


def status(name: str) -> LabStatus:
    """Ask every host of a lab how it is.

    Raises:
        LabError: there is no such lab.
    """
    spec = store.load_spec(name)
    files = store.files(name)
    hosts = tuple(_host_status(host) for host in of(spec, files))
    return LabStatus(name, tuple(str(path) for path in access.inventories(files)), hosts)


def down(name: str, progress: Progress | None = None) -> None:
    """Power every host off in an orderly way; their disks stay."""
    steps = progress or NullProgress()
    with store.locked(name, steps):
        _power_off(of(store.load_spec(name), store.files(name)), steps)


def destroy(name: str, progress: Progress | None = None) -> None:
    """Remove a lab and everything it made, in whatever state it is; no lab of that name is no error."""
    files = store.files(name)
    steps = progress or NullProgress()
    with store.locked(name, steps), steps.step("destroy", f"lab {name}"):
        for host in _known_hosts(name):
            host.cut_power()
        for group in _stray_groups(name):
            group.kill()
            group.remove()
        network.destroy(files.network)
        access.forget(files)
        if files.root.exists():
            shutil.rmtree(files.root)


def poweroff(name: str, host_name: str, *, hard: bool, progress: Progress | None = None) -> None:
    """Power one host off: in an orderly way, or `hard` as if its cord were pulled."""
    steps = progress or NullProgress()
    with store.locked(name, steps):
        host = find(name, host_name)
        if hard:
            host.cut_power()
        else:
            _power_off((host,), steps)


def start(name: str, host_name: str, progress: Progress | None = None) -> None:
    """Boot one host that is off and wait for its SSH."""
    steps = progress or NullProgress()
    with store.locked(name, steps), steps.step("boot", host_name):
        host = find(name, host_name)
        network.create(host.spec, host.lab_files.network)
        _boot((host,), NullStep())


def reboot(name: str, host_name: str, progress: Progress | None = None) -> None:
    """Have one host reboot, as `systemctl reboot` on it would, and wait for its SSH."""
    steps = progress or NullProgress()
    with store.locked(name, steps), steps.step("reboot", host_name):
        host = find(name, host_name)
        before = host.leader()
        host.reboot()
        if not wait_until(lambda: host.leader() not in (before, None), _SSH_TIMEOUT_S):
            raise LabError(
                f"lab host {host_name} did not reboot within {_SSH_TIMEOUT_S} s",
                details=host.console_tail(),
                remedy=f"llmprov lab poweroff {host_name} --hard, then llmprov lab start {host_name}",
            )
        _await_ssh((host,))


def cut(name: str, host_name: str) -> None:
    """Pull the network cable of one host."""
    with store.locked(name):
        host = find(name, host_name)
        network.cut(host.lab_files.network, host.host)


def heal(name: str, host_name: str) -> None:
    """Plug the network cable of one host in again."""
    with store.locked(name):
        host = find(name, host_name)
        network.heal(host.lab_files.network, host.host)


def find(name: str, host_name: str) -> Host:
    """Find a host of a lab.

    Raises:
        LabError: there is no such lab, or it has no such host.
    """
    spec = store.load_spec(name)
    return Host(spec, spec.host(host_name), store.files(name))


def _make(spec: LabSpec, inventory: Path, bases: dict[Suite, Path]) -> tuple[Host, ...]:
    files = store.files(spec.name)
    store.save_spec(spec)
    public_key = identity.make_key(files.key, comment=f"llmprov lab {spec.name}")
    hosts = of(spec, files)
    for host in hosts:
        host.make(bases[spec.suite(host.host)], public_key)
    network.create(spec, files.network)
    access.write(spec, files, inventory, {host.name: host.public_key() for host in hosts})
    return hosts


def _check_same(spec: LabSpec) -> None:
    """A lab may gain hosts; one that would change or lose some has to be destroyed knowingly."""
    existing = store.find_spec(spec.name)
    if existing is None:
        return
    kept = {host.name: host for host in spec.hosts}
    findings = [f"host {host.name} differs or is left out" for host in existing.hosts if kept.get(host.name) != host]
    same = {"subnet", "base", "sudo_password"}
    findings += [f"{key} differs" for key in sorted(same) if getattr(existing, key) != getattr(spec, key)]
    if findings:
        raise LabError(
            f"lab {spec.name} already exists and is another one",
            details=tuple(findings),
            remedy=f"llmprov lab destroy --name {spec.name}, or use another --name",
        )


def _check_binds(spec: LabSpec) -> None:
    missing = [
        f"host {host.name}: {outside} (for {inside})"
        for host in spec.hosts
        for inside, outside in host.binds.items()
        if not Path(outside).is_dir()
    ]
    if missing:
        raise LabError("directories to bind do not exist", details=tuple(missing), remedy="make them first")


def _host_status(host: Host) -> HostStatus:
    spec: HostSpec = host.host
    return HostStatus(
        name=spec.name,
        address=str(spec.address),
        groups=spec.groups,
        suite=host.spec.suite(spec).value,
        state=_state(host),
        memory=spec.memory,
        disk=spec.disk,
    )


def _state(host: Host) -> str:
    if not host.is_running():
        return "off"
    if network.is_cut(host.lab_files.network, host.host):
        return "cut"
    return "ready" if _accepts_logins(host) else "booting"


def _accepts_logins(host: Host) -> bool:
    return network.ssh_answers(host.lab_files.network, host.host) and not host.refuses_users()


def _boot(hosts: tuple[Host, ...], step: Step) -> None:
    """Start hosts and wait for their SSH, so many at a time that each can be expected to boot in its time."""
    for first in range(0, len(hosts), _AT_ONCE):
        some = hosts[first : first + _AT_ONCE]
        for host in some:
            host.start()
        _await_ssh(some)
        step.update(some[-1].name, done=first + len(some), total=len(hosts))


def _await_ssh(hosts: tuple[Host, ...]) -> None:
    waiting = {host.name: host for host in hosts}

    def all_answer() -> bool:
        for host in tuple(waiting.values()):
            if _accepts_logins(host) or network.is_cut(host.lab_files.network, host.host):
                del waiting[host.name]
            elif not host.is_running():
                raise LabError(
                    f"lab host {host.name} stopped while booting",
                    details=host.console_tail(),
                    remedy=f"all it printed is in {host.files.console}; docs/lab.md lists known causes",
                )
        return not waiting

    if not wait_until(all_answer, _SSH_TIMEOUT_S):
        details = tuple(f"{host.name}: {line}" for host in waiting.values() for line in host.console_tail())
        raise LabError(
            f"no SSH after {_SSH_TIMEOUT_S} s: {', '.join(waiting)}",
            details=details,
            remedy="run the same command again, it goes on waiting; docs/lab.md lists known causes",
        )


def _power_off(hosts: tuple[Host, ...], steps: Progress) -> None:
    with steps.step("power off", ", ".join(host.name for host in hosts)):
        for host in hosts:
            host.ask_poweroff()
        for host in hosts:
            if not host.wait_off(_POWEROFF_TIMEOUT_S):
                steps.note(f"{host.name} did not power off within {_POWEROFF_TIMEOUT_S} s: its power was cut")
            host.cut_power()


def _known_hosts(name: str) -> tuple[Host, ...]:
    spec = store.find_spec(name)
    return of(spec, store.files(name)) if spec else ()


def _stray_groups(name: str) -> list[HostGroup]:
    """Groups of hosts that the lab's files do not tell of: somebody removed the files first."""
    return [HostGroup(detect(), name, host) for host in sorted(hosts_of(name))]


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps: list[tuple[str, float]] = []

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps.append((name, now - self._last))
        self._last = now
