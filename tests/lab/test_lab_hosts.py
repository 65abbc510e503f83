"""The lab itself: real hosts booted, broken and removed through the command line, as a user does."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="lab hosts need root"),
]

_SPEC = """\
subnet: 10.79.0.0/24
hosts:
  cp1: {memory: 512M}
  gpu1: {disk: 1G, base: bookworm}
  gpu2: {binds: {/srv/models: %s}}
"""


@dataclass(frozen=True)
class Lab:
    """A lab with state and inventory of its own, so that labs that run beside it do not matter."""

    name: str
    home: Path

    @property
    def inventory(self) -> Path:
        """Where `up` writes hosts.yml and ssh.cfg."""
        return self.home / "inventory"

    @property
    def environment(self) -> Mapping[str, str]:
        """State of its own, the user's caches."""
        return {**os.environ, "LLMPROV_STATE_DIR": str(self.home / "state"), "LLMPROV_PROGRESS": "silent"}

    @property
    def files(self) -> Path:
        """The lab's own files."""
        return self.home / "state" / "lab" / self.name

    def command(self, verb: str, *arguments: str) -> list[str]:
        """The command line of a lab verb."""
        inventory = ["--inventory", str(self.inventory)] if verb == "up" else []
        return [sys.executable, "-m", "llmprov", "lab", verb, "--name", self.name, *inventory, *arguments]

    def __call__(self, verb: str, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a lab verb."""
        done = subprocess.run(
            self.command(verb, *arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert (done.returncode == 0) is ok, done.stderr
        return done

    def on(self, host: str, script: str, *, ok: bool = True, user: str = "ops") -> str:
        """Run a script on a host by plain ssh."""
        config = str(self.inventory / "ssh.cfg")
        done = subprocess.run(
            ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-F", config, f"{user}@{host}", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return (done.stdout if ok else done.stdout + done.stderr).strip()

    def states(self) -> dict[str, str]:
        """The state of every host."""
        return {host["name"]: host["state"] for host in json.loads(self("status", "--json").stdout)["hosts"]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three hosts, each with one option of lab.yml."""
    home = tmp_path_factory.mktemp("lab")
    models = home / "models"
    models.mkdir()
    (models / "weights").write_text("seen from outside\n")
    (home / "lab.yml").write_text(_SPEC % models)
    lab = Lab(f"t{os.getpid()}", home)
    yield _up(lab, "-f", str(home / "lab.yml"))
    lab("destroy")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Lab]:
    """A lab that is not started yet."""
    lab = Lab(f"s{os.getpid()}", tmp_path)
    yield lab
    lab("destroy")


def _up(lab: Lab, *arguments: str) -> Lab:
    lab("up", *arguments)
    return lab


def test_three_hosts_answer_ssh_within_ten_seconds(scratch: Lab) -> None:
    result = json.loads(scratch("up", "--hosts", "3", "--json").stdout)
    assert [host["name"] for host in result["hosts"]] == ["cp1", "gpu1", "gpu2"]
    assert {host["state"] for host in result["hosts"]} == {"ready"}
    seconds = {phase["phase"]: phase["seconds"] for phase in result["phases"]}
    assert seconds["files and network"] + seconds["boot to SSH"] <= 10


def test_every_host_has_an_identity_of_its_own(lab: Lab) -> None:
    hosts = ("cp1", "gpu1", "gpu2")
    script = "hostname; cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub; hostname -I"
    seen = [lab.on(host, script).split() for host in hosts]
    assert tuple(lines[0] for lines in seen) == hosts
    for column in range(4):
        assert len({lines[column] for lines in seen}) == 3


def test_hosts_reach_each_other_and_nothing_else(lab: Lab) -> None:
    lab.on("gpu1", "sudo ping -c 1 -W 2 10.79.0.11")
    assert "default via 10.79.0.1" in lab.on("gpu1", "ip route")
    lab.on("gpu1", "sudo ping -c 1 -W 2 192.0.2.1", ok=False)
    lab.on("gpu1", "timeout 5 bash -c '</dev/tcp/1.1.1.1/443'", ok=False)
    lab.on("gpu1", "timeout 15 getent hosts debian.org", ok=False)


def test_login_is_that_of_a_real_server(lab: Lab) -> None:
    assert lab.on("cp1", "id -un; sudo -n id -un") == "ops\nroot"
    assert "Permission denied" in lab.on("cp1", "true", ok=False, user="root")


def test_plain_ansible_works_with_the_inventory(lab: Lab) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ansible",
            "adhoc",
            "-i",
            str(lab.inventory),
            "all",
            "-b",
            "-m",
            "ansible.builtin.command",
            "-a",
            "id -un",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.count("root") == 3, done.stdout + done.stderr


def test_a_changed_host_key_is_refused(lab: Lab, tmp_path: Path) -> None:
    known = (lab.files / "known_hosts").read_text().splitlines()
    swapped = tmp_path / "known_hosts"
    swapped.write_text(f"cp1,10.79.0.11 {known[1].split(' ', 1)[1]}\n")
    done = subprocess.run(
        ["ssh", "-o", f"UserKnownHostsFile={swapped}", "-F", str(lab.inventory / "ssh.cfg"), "cp1", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_up_leaves_running_hosts_alone(lab: Lab) -> None:
    before = lab.on("gpu2", "cat /proc/sys/kernel/random/boot_id")
    lab("up")
    assert lab.on("gpu2", "cat /proc/sys/kernel/random/boot_id") == before


def test_up_with_other_hosts_is_refused_and_changes_nothing(lab: Lab) -> None:
    done = lab("up", "--hosts", "1", ok=False)
    assert done.returncode == 9
    assert "host gpu1 differs or is left out" in done.stderr
    assert lab.states() == dict.fromkeys(("cp1", "gpu1", "gpu2"), "ready")


def test_kubernetes_finds_what_it_needs_also_after_a_reboot_from_inside(lab: Lab) -> None:
    _assert_fit_for_kubernetes(lab, "gpu2")
    before = lab.on("gpu2", "cat /proc/sys/kernel/random/boot_id")
    lab("reboot", "gpu2")
    assert lab.on("gpu2", "cat /proc/sys/kernel/random/boot_id") != before
    _assert_fit_for_kubernetes(lab, "gpu2")


def _assert_fit_for_kubernetes(lab: Lab, host: str) -> None:
    if lab.on(host, "stat -f -c %T /sys/fs/cgroup") == "cgroup2fs":
        controllers = lab.on(host, "cat /sys/fs/cgroup/cgroup.controllers").split()
        assert {"cpu", "cpuset", "memory", "pids"} <= set(controllers)
        group = "/sys/fs/cgroup/probe"
    else:
        group = "/sys/fs/cgroup/memory/probe"
    lab.on(host, f"sudo mkdir {group} && sudo rmdir {group}")
    lab.on(host, "sudo sysctl -w net.ipv4.ip_forward=1")
    assert lab.on(host, "findmnt -n -o PROPAGATION /") == "shared"
    assert lab.on(host, "stat -c %F /dev/kmsg") == "character special file"
    assert lab.on(host, "stat -f -c %T /var/lib/containerd") != "overlayfs"


def test_power_and_disk_survive_separately(lab: Lab) -> None:
    lab.on("gpu2", "sudo touch /root/kept")
    lab("poweroff", "gpu2")
    assert lab.states()["gpu2"] == "off"
    lab("start", "gpu2")
    lab.on("gpu2", "sudo test -e /root/kept && sync")
    lab("poweroff", "--hard", "gpu2")
    assert lab.states()["gpu2"] == "off"
    lab("start", "gpu2")
    lab.on("gpu2", "sudo test -e /root/kept")


def test_a_cut_host_is_unreachable_until_healed(lab: Lab) -> None:
    lab("cut", "gpu2")
    assert lab.states()["gpu2"] == "cut"
    lab.on("gpu1", "sudo ping -c 1 -W 1 10.79.0.22", ok=False)
    lab("heal", "gpu2")
    assert lab.states()["gpu2"] == "ready"
    lab.on("gpu1", "sudo ping -c 1 -W 2 10.79.0.22")


def test_a_small_disk_fills_up_and_only_that(lab: Lab) -> None:
    assert "No space left" in lab.on("gpu1", "sudo fallocate -l 2G /var/lib/big", ok=False)
    lab.on("gpu1", "sudo rm -f /var/lib/big; sudo sh -c 'echo still > /root/writable'")


def test_a_memory_limit_ends_what_exceeds_it(lab: Lab) -> None:
    lab.on("cp1", "python3 -c 'bytearray(100 << 20)'")
    lab.on("cp1", "python3 -c 'bytearray(800 << 20)'", ok=False)
    lab.on("gpu2", "python3 -c 'bytearray(800 << 20)'")


def test_a_bound_directory_is_read_only(lab: Lab) -> None:
    assert lab.on("gpu2", "cat /srv/models/weights") == "seen from outside"
    assert "Read-only" in lab.on("gpu2", "sudo touch /srv/models/new", ok=False)


def test_ssh_verb_runs_a_command_and_returns_its_status(lab: Lab) -> None:
    assert lab("ssh", "gpu1", "grep", "VERSION_CODENAME", "/etc/os-release").stdout == "VERSION_CODENAME=bookworm\n"
    assert lab("ssh", "gpu1", "exit 7", ok=False).returncode == 7


def test_unknown_host_and_unknown_lab_are_named(lab: Lab, scratch: Lab) -> None:
    assert "its hosts are: cp1, gpu1, gpu2" in lab("cut", "gpu9", ok=False).stderr
    done = scratch("status", ok=False)
    assert done.returncode == 9
    assert "there is no lab" in done.stderr


def test_sudo_can_ask_for_a_password(scratch: Lab, tmp_path: Path) -> None:
    (tmp_path / "lab.yml").write_text("sudo_password: open sesame\nhosts: {cp1: {}}\n")
    scratch("up", "-f", str(tmp_path / "lab.yml"))
    assert "password is required" in scratch.on("cp1", "sudo -n true", ok=False)
    assert scratch.on("cp1", "echo open sesame | sudo -S -p '' id -un") == "root"


def test_down_keeps_what_up_brings_back(scratch: Lab) -> None:
    scratch("up", "--hosts", "1")
    scratch.on("cp1", "sudo touch /var/kept")
    scratch("down")
    assert scratch.states() == {"cp1": "off"}
    scratch("up")
    scratch.on("cp1", "test -e /var/kept")


def test_two_labs_do_not_meet(lab: Lab, scratch: Lab) -> None:
    scratch("up", "--hosts", "1", "--subnet", "10.79.0.0/24")
    assert scratch.on("cp1", "cat /etc/machine-id") != lab.on("cp1", "cat /etc/machine-id")
    scratch.on("cp1", "sudo ping -c 1 -W 1 10.79.0.21", ok=False)


def test_destroy_leaves_nothing_behind(scratch: Lab, tmp_path: Path) -> None:
    (tmp_path / "lab.yml").write_text("hosts: {cp1: {disk: 512M}, gpu1: {}}\n")
    scratch("up", "-f", str(tmp_path / "lab.yml"))
    traces = _traces(scratch)
    assert all(traces.values()), traces
    namespaces = _namespaces(scratch)
    scratch("destroy")
    assert not any(_traces(scratch).values()), _traces(scratch)
    assert not namespaces & _all_namespaces()
    scratch("destroy")


def test_destroy_after_everything_was_killed(scratch: Lab) -> None:
    scratch("up", "--hosts", "2")
    for pid in _pids_running("llmprov.lab.supervise", scratch.name):
        os.kill(pid, signal.SIGKILL)
    assert _traces(scratch)["processes"]
    scratch("destroy")
    assert not any(_traces(scratch).values()), _traces(scratch)


@pytest.mark.parametrize("moment", ["lab.json", "net/gpu1", "hosts/cp1/supervisor.lock"])
def test_destroy_after_up_was_killed(scratch: Lab, moment: str) -> None:
    with subprocess.Popen(scratch.command("up", "--hosts", "2"), env=scratch.environment) as up:
        while up.poll() is None and not (scratch.files / moment).exists():
            pass  # spins on purpose: the moment is short
        up.kill()
    scratch("destroy")
    assert not any(_traces(scratch).values()), _traces(scratch)


def test_up_completes_what_a_killed_up_began(scratch: Lab) -> None:
    with subprocess.Popen(scratch.command("up", "--hosts", "2"), env=scratch.environment) as up:
        while up.poll() is None and not (scratch.files / "net" / "cp1").exists():
            pass  # spins on purpose: the moment is short
        up.kill()
    scratch("up", "--hosts", "2")
    scratch.on("cp1", "sudo ping -c 1 -W 2 10.77.0.21")


def test_hosts_boot_on_cgroup_v2(scratch: Lab) -> None:
    """On a hybrid machine the unified hierarchy has few controllers left, but the whole path is the same."""
    script = f"""
    set -e
    umount --lazy /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    {" ".join(scratch.command("up", "--hosts", "1"))}
    ssh -F {scratch.inventory}/ssh.cfg cp1 'findmnt -n -o FSTYPE /sys/fs/cgroup; sudo mkdir /sys/fs/cgroup/probe'
    {" ".join(scratch.command("reboot", "cp1"))}
    ssh -F {scratch.inventory}/ssh.cfg cp1 'sudo mkdir /sys/fs/cgroup/probe && systemctl is-system-running --wait'
    {" ".join(scratch.command("destroy"))}
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env=scratch.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "cgroup2" in lines
    assert lines[-1] == "running"


def test_missing_tools_are_all_named_at_once(scratch: Lab, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("ip", "ssh", "sh"):
        (tools / tool).symlink_to(shutil.which(tool) or "")
    done = subprocess.run(
        scratch.command("up"),
        env={**scratch.environment, "PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9
    for package in ("mmdebstrap", "systemd-container", "netcat-openbsd"):
        assert re.search(rf"remedy:.*apt-get install.*{package}", done.stderr), done.stderr


def _traces(lab: Lab) -> dict[str, list[str]]:
    """Everything on this machine that belongs to the lab."""
    state = str(lab.home / "state")
    groups = Path("/sys/fs/cgroup")
    return {
        "mounts": [line for line in Path("/proc/self/mounts").read_text().splitlines() if state in line],
        "cgroups": [str(path) for path in groups.glob(f"**/llmprov-lab/{lab.name}")],
        "processes": [_describe(pid) for pid in _pids_running(lab.name)],
        "files": [str(path) for path in (lab.home / "state" / "lab").glob("**/*")],
        "inventory": [str(path) for path in lab.inventory.glob("**/*")],
    }


def _pids_running(*words: str) -> list[int]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            text = (directory / "cmdline").read_text() + (directory / "cgroup").read_text()
            ended = (directory / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # gone meanwhile
            continue
        if not ended and all(word in text for word in words) and int(directory.name) != os.getpid():
            found.append(int(directory.name))
    return found


def _describe(pid: int) -> str:
    return f"{pid} {Path(f'/proc/{pid}/stat').read_text()} {Path(f'/proc/{pid}/cgroup').read_text()}"


def _namespaces(lab: Lab) -> set[int]:
    return {file.stat().st_ino for file in (lab.files / "net").iterdir()}


def _all_namespaces() -> set[int]:
    listed = subprocess.run(["lsns", "-t", "net", "-n", "-o", "NS"], capture_output=True, text=True, check=True)
    return {int(line) for line in listed.stdout.split()}
