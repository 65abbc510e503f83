"""One host: making its files, starting it, asking how it is, stopping it."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from llmprov.errors import LabError
from llmprov.lab import identity
from llmprov.lab.cgroups import HostGroup, detect
from llmprov.lab.plan import HostPlan
from llmprov.lab.spec import HostSpec, LabSpec, size_bytes
from llmprov.lab.store import HostFiles, LabFiles, write_whole
from llmprov.lab.tools import run, wait_until

# containerd's overlay snapshotter cannot sit on an overlay's upper layer: these are plain directories of the machine.
_PLAIN_DIRECTORIES = ("var/lib/containerd", "var/lib/kubelet", "var/lib/etcd")
_START_TIMEOUT_S = 10
# A process of a host has a number on the machine and one inside the host.
_NUMBERS_IN_HOST = 2
# systemd's signals to its first process: what to do, in an orderly way.
_POWEROFF = signal.SIGRTMIN + 4
_REBOOT = signal.SIGRTMIN + 5


@dataclass(frozen=True)
class Host:
    """A host of a lab, whether it is running or not."""

    spec: LabSpec
    host: HostSpec
    lab_files: LabFiles

    @property
    def name(self) -> str:
        """The host's name."""
        return self.host.name

    @property
    def files(self) -> HostFiles:
        """The host's files."""
        return self.lab_files.host(self.name)

    @property
    def group(self) -> HostGroup:
        """The host's control groups."""
        return HostGroup(detect(), self.spec.name, self.name)

    def make(self, lower: Path, public_key: str) -> None:
        """Make the host's own files unless they are complete; `lower` is the base it shares."""
        if self.files.plan.exists():
            return
        if self.files.root.exists():  # of an `up` that was killed
            shutil.rmtree(self.files.root)
        upper = self.files.root / "upper"
        for directory in (upper, self.files.root / "work", self.files.root / "root"):
            directory.mkdir(parents=True)
            directory.chmod(0o755)
        identity.seed(self.spec, self.host, upper, lower, public_key)
        plan = self._plan(lower)
        if plan.disk:
            _make_disk(Path(plan.disk), size_bytes(self.host.disk or ""), lower / "var")
        for outside, _, writable in plan.binds:
            if writable:
                Path(outside).mkdir(parents=True)
        write_whole(self.files.plan, plan.save())

    def public_key(self) -> str:
        """The host's SSH public key."""
        return (self.files.root / "ssh_host_ed25519_key.pub").read_text().strip()

    def is_running(self) -> bool:
        """Whether its supervisor holds its lock."""
        return self.supervisor() is not None

    def supervisor(self) -> int | None:
        """The process id of the host's supervisor, None when it does not run."""
        try:
            descriptor = os.open(self.files.lock, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.read(descriptor, 32) or 0) or None
        finally:
            os.close(descriptor)
        return None

    def leader(self) -> int | None:
        """The process that is number 1 inside the host, as numbered on this machine."""
        return next((pid for pid in sorted(self.group.pids()) if _number_inside(pid) == 1), None)

    def refuses_users(self) -> bool:
        """Whether only root may log in yet: SSH answers a moment before the boot has come that far."""
        leader = self.leader()
        return leader is None or Path(f"/proc/{leader}/root/run/nologin").exists()

    def start(self) -> None:
        """Boot the host; returns when it has been launched, not when it is up."""
        if self.is_running():
            return
        self.group.kill()  # what a supervisor that was killed has left
        log = os.open(self.files.console, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "llmprov.lab.supervise", str(self.files.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
                start_new_session=True,
            )
        finally:
            os.close(log)
        if not wait_until(lambda: self.is_running() or process.poll() is not None, _START_TIMEOUT_S):
            raise LabError(f"the supervisor of lab host {self.name} does not start", remedy=self._see_console())

    def console_tail(self, lines: int = 5) -> tuple[str, ...]:
        """The last lines that the host and nspawn printed."""
        if not self.files.console.exists():
            return ()
        return tuple(self.files.console.read_text(errors="replace").splitlines()[-lines:])

    def reboot(self) -> None:
        """Ask the host to reboot, as `systemctl reboot` inside would."""
        os.kill(self._running_leader(), _REBOOT)

    def ask_poweroff(self) -> None:
        """Ask the host to shut down in an orderly way; does nothing when it does not run."""
        leader = self.leader() if self.is_running() else None
        if leader is not None:
            os.kill(leader, _POWEROFF)

    def wait_off(self, timeout_s: float) -> bool:
        """Wait until the host has stopped."""
        return wait_until(lambda: not self.is_running(), timeout_s)

    def cut_power(self) -> None:
        """End every process of the host at once, also when it was never started properly."""
        supervisor, leader = self.supervisor(), self.leader()
        if supervisor is not None and leader is not None:
            # Everything inside ends with it, and nspawn and the supervisor each collect their child.
            os.kill(leader, signal.SIGKILL)
            wait_until(lambda: not _is_alive(supervisor), _START_TIMEOUT_S)
        self.group.kill()
        if supervisor is not None and not wait_until(lambda: not _is_alive(supervisor), _START_TIMEOUT_S):
            os.kill(supervisor, signal.SIGKILL)
            self.group.kill()
        self.group.remove()

    def _running_leader(self) -> int:
        leader = self.leader() if self.is_running() else None
        if leader is None:
            raise LabError(f"lab host {self.name} is not running", remedy=f"llmprov lab start {self.name}")
        return leader

    def _see_console(self) -> str:
        return f"see {self.files.console}"

    def _plan(self, lower: Path) -> HostPlan:
        root = self.files.root
        plain = () if self.host.disk else _PLAIN_DIRECTORIES
        data = tuple((str(root / "data" / name), f"/{name}", True) for name in plain)
        shown = tuple((outside, inside, False) for inside, outside in self.host.binds.items())
        return HostPlan(
            lab=self.spec.name,
            host=self.name,
            root=str(root / "root"),
            lower=str(lower),
            upper=str(root / "upper"),
            work=str(root / "work"),
            disk=str(root / "disk.img") if self.host.disk else "",
            namespace=str(self.lab_files.network / self.name),
            machine_id=identity.machine_id(self.spec, self.host),
            init=identity.INIT,
            binds=(*data, *shown),
            memory_bytes=self.host.memory_bytes,
        )


def of(spec: LabSpec, lab_files: LabFiles) -> tuple[Host, ...]:
    """Every host of a lab."""
    return tuple(Host(spec, host, lab_files) for host in spec.hosts)


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice its end does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _number_inside(pid: int) -> int:
    """The process's number inside the host; 0 when it is not directly in a host."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # ended meanwhile
        return 0
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    # A pod's process has a third number: it is one level deeper.
    return int(numbers[-1]) if len(numbers) == _NUMBERS_IN_HOST else 0


def _make_disk(image: Path, size: int, contents: Path) -> None:
    """Make a sparse ext4 image holding the base's /var."""
    with image.open("wb") as stream:
        stream.truncate(size)
    run(["mkfs.ext4", "-q", "-F", "-d", str(contents), str(image)])
