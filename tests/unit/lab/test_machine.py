"""What the lab asks of the machine: the tools it calls and how it takes their answers.

The tools are stand-ins that record their calls; tests/lab runs the real ones.
"""

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from llmprov.errors import LabError
from llmprov.lab import base, host, network, requirements, store, supervise
from llmprov.lab.cgroups import HostGroup
from llmprov.lab.plan import HostPlan
from llmprov.lab.spec import LabSpec, Suite
from llmprov.lab.tools import run, wait_until

_RECORDER = """\
#!/usr/bin/python3 -IS
import json, os, sys
name = os.path.basename(sys.argv[0])
answers = json.load(open(os.path.join(os.path.dirname(sys.argv[0]), "answers.json")))
stdin = "" if sys.stdin is None or sys.stdin.isatty() or name not in ("nsenter",) else sys.stdin.read()
with open(os.path.join(os.path.dirname(sys.argv[0]), "calls.jsonl"), "a") as log:
    log.write(json.dumps([name, *sys.argv[1:], *stdin.splitlines()]) + "\\n")
line = " ".join(sys.argv[1:])
for part, (code, output) in answers.get(name, {}).items():
    if part in line:
        sys.stdout.write(output) if code == 0 else sys.stderr.write(output)
        sys.exit(code)
"""


@dataclass(frozen=True)
class Tools:
    """Stand-ins for system tools, first on PATH."""

    directory: Path

    def add(self, *names: str) -> None:
        """Let a tool be recorded."""
        for name in names:
            tool = self.directory / name
            tool.write_text(_RECORDER)
            tool.chmod(0o755)

    def answer(self, name: str, part: str, output: str, code: int = 0) -> None:
        """Have calls of a tool that contain `part` print `output` and end with `code`."""
        file = self.directory / "answers.json"
        answers = json.loads(file.read_text())
        answers.setdefault(name, {})[part] = [code, output]
        file.write_text(json.dumps(answers))

    @property
    def calls(self) -> list[list[str]]:
        """Every call so far: name, arguments, lines of standard input."""
        file = self.directory / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "answers.json").write_text("{}")
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin:/usr/sbin:/sbin")
    return Tools(directory)


def _mmdebstrap(tools: Tools) -> None:
    tools.add("mmdebstrap")
    tool = tools.directory / "mmdebstrap"
    tool.write_text(tool.read_text() + 'os.makedirs(os.path.join(sys.argv[-1], "etc"))\n')


@pytest.mark.usefixtures("home")
def test_a_base_is_built_once(tools: Tools) -> None:
    _mmdebstrap(tools)
    first = base.ensure("trixie")
    assert base.ensure(Suite.TRIXIE) == first
    assert (first / "etc").is_dir()
    assert first.name.startswith("trixie-")
    assert len(tools.calls) == 1
    command = tools.calls[0]
    assert "trixie" in command
    assert not any(argument.startswith(("http", "deb ")) for argument in command)


@pytest.mark.usefixtures("home")
def test_another_recipe_is_another_base(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    _mmdebstrap(tools)
    first = base.ensure("bookworm")
    monkeypatch.setattr(base, "_PACKAGES", ("systemd",))
    assert base.ensure("bookworm") != first


@pytest.mark.usefixtures("home")
def test_a_failed_build_is_no_base_and_says_why(tools: Tools) -> None:
    tools.add("mmdebstrap")
    tools.answer("mmdebstrap", "trixie", "E: no space left\n", code=1)
    with pytest.raises(LabError) as caught:
        base.ensure("trixie")
    assert "E: no space left" in caught.value.details


def test_a_server_brings_what_a_role_does_not_install() -> None:
    command = base._command(Suite.TRIXIE, Path("/target"))
    included = next(argument for argument in command if argument.startswith("--include=")).removeprefix("--include=")
    packages = set(included.split(","))
    assert {"systemd", "openssh-server", "python3", "sudo"} <= packages
    assert not packages & {"chrony", "nftables", "containerd", "kubelet"}


def test_the_network_is_made_once_and_completed_when_half_made(tools: Tools, spec: LabSpec, tmp_path: Path) -> None:
    tools.add("unshare", "nsenter", "umount")
    tools.answer("nsenter", "master br0", "port11@if2 UP 00:00\nport21@if2 UP 00:00\n")
    network.create(spec, tmp_path / "net")
    batches = [(call[1].rpartition("/")[2], call[5:]) for call in tools.calls if "-batch" in call]
    assert "link add br0 type bridge" in batches[0][1]
    inside = dict(batches)["gpu2"]
    assert "address add 10.77.0.22/24 dev eth0" in inside
    assert "route add default via 10.77.0.1" in inside
    assert batches[-1] == ("lab.bridge", ["link set port22 master br0 up"])


def test_a_cable_is_one_interface_of_the_bridge(tools: Tools, spec: LabSpec, tmp_path: Path) -> None:
    tools.add("nsenter")
    tools.answer("nsenter", "show up", "lo UNKNOWN\nbr0 UP\nport11@if2 UP\n")
    network.cut(tmp_path, spec.host("gpu1"))
    network.heal(tmp_path, spec.host("gpu1"))
    assert [call[-1] for call in tools.calls] == ["link set port21 down", "link set port21 up"]
    assert network.is_cut(tmp_path, spec.host("gpu1"))
    assert not network.is_cut(tmp_path, spec.host("cp1"))


def test_a_network_that_was_never_made_is_destroyed_without_error(tools: Tools, tmp_path: Path) -> None:
    tools.add("umount")
    network.destroy(tmp_path / "net")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "cp1").touch()
    network.destroy(tmp_path / "net")
    assert not (tmp_path / "net").exists()
    assert not tools.calls


def test_nobody_answers_in_a_namespace_that_is_not_there(spec: LabSpec, tmp_path: Path) -> None:
    assert not network.ssh_answers(tmp_path, spec.host("cp1"))


def test_everything_missing_is_said_at_once(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tools.directory))
    tools.add("ip", "ssh", "nsenter", "unshare", "mount")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError) as caught:
        requirements.check()
    assert caught.value.details[0].startswith("the lab needs root")
    assert "mmdebstrap is not installed (package mmdebstrap)" in caught.value.details
    assert caught.value.remedy.startswith("apt-get install e2fsprogs mmdebstrap netcat-openbsd")
    assert "iproute2" not in caught.value.remedy
    assert set(caught.value.remedy.split()[2:]) < set(requirements.packages())


def test_a_fit_machine_passes(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.add(*requirements._TOOLS)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    requirements.check()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError) as caught:
        requirements.check()
    assert caught.value.remedy == "run it with sudo"


def test_a_failing_tool_is_quoted(tools: Tools) -> None:
    tools.add("ip")
    tools.answer("ip", "link", "Device does not exist\n", code=3)
    with pytest.raises(LabError, match="`ip link show` ended with status 3") as caught:
        run(["ip", "link", "show"])
    assert caught.value.details == ("Device does not exist",)
    with pytest.raises(LabError, match="no-such-tool is not installed"):
        run(["no-such-tool"])


def test_waiting_ends_with_the_condition_or_the_deadline() -> None:
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), 5)
    assert not wait_until(lambda: False, 0)


@pytest.fixture
def made(tools: Tools, home: Path, spec: LabSpec, monkeypatch: pytest.MonkeyPatch) -> dict[str, host.Host]:
    """The files of three hosts; their identity is another test's subject."""
    del home
    tools.add("mkfs.ext4")
    monkeypatch.setattr("llmprov.lab.identity.seed", lambda *_: "ssh-ed25519 AAAA")
    hosts = {one.name: one for one in host.of(spec, store.files("unit"))}
    for one in hosts.values():
        one.make(Path("/base/trixie"), "ssh-ed25519 BBBB")
    return hosts


def test_a_host_gets_plain_directories_or_a_disk_of_its_own(made: dict[str, host.Host], tools: Tools) -> None:
    shared = HostPlan.load(made["cp1"].files.plan)
    assert [inside for _, inside, writable in shared.binds if writable] == [
        "/var/lib/containerd",
        "/var/lib/kubelet",
        "/var/lib/etcd",
    ]
    assert all(Path(outside).is_dir() for outside, _, _ in shared.binds)
    own = HostPlan.load(made["gpu1"].files.plan)
    assert own.binds == ()
    assert Path(own.disk).stat().st_size == 2 * 1024**3
    assert tools.calls[-1] == ["mkfs.ext4", "-q", "-F", "-d", "/base/trixie/var", own.disk]
    assert HostPlan.load(made["gpu2"].files.plan).memory_bytes == 512 * 1024**2


def test_a_complete_host_is_not_made_again(made: dict[str, host.Host], tools: Tools) -> None:
    before = len(tools.calls)
    (made["gpu1"].files.root / "upper" / "kept").touch()
    made["gpu1"].make(Path("/base/other"), "key")
    assert (made["gpu1"].files.root / "upper" / "kept").exists()
    assert len(tools.calls) == before


def test_a_host_runs_as_long_as_its_supervisor_holds_the_lock(made: dict[str, host.Host]) -> None:
    one = made["cp1"]
    assert one.supervisor() is None
    lock = supervise._hold_lock(one.files.lock)
    assert one.supervisor() == os.getpid()
    assert not one.wait_off(0)
    fcntl.flock(lock, fcntl.LOCK_UN)
    assert not one.is_running()
    assert one.wait_off(0)
    os.close(lock)


def test_a_host_that_is_off_cannot_reboot_but_can_be_off(made: dict[str, host.Host]) -> None:
    with pytest.raises(LabError, match="gpu1 is not running") as caught:
        made["gpu1"].reboot()
    assert caught.value.remedy == "llmprov lab start gpu1"
    made["gpu1"].ask_poweroff()
    assert made["gpu1"].leader() is None
    assert made["gpu1"].refuses_users()
    assert made["gpu1"].console_tail() == ()


def test_a_supervisor_that_cannot_start_says_so_on_the_console(made: dict[str, host.Host]) -> None:
    one = made["cp1"]
    one.files.plan.unlink()
    one.start()
    assert wait_until(lambda: bool(one.console_tail()), 10)
    assert "lab supervisor: " in one.console_tail()[-1]
    assert "plan.json" in one.console_tail()[-1]
    assert one.wait_off(10)


def test_only_processes_directly_in_a_host_have_its_numbers() -> None:
    assert host._number_inside(os.getpid()) == 0
    assert host._number_inside(2**22 + 1) == 0
    assert host._is_alive(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not host._is_alive(child.pid)


def _plan(**changes: object) -> HostPlan:
    values: dict[str, object] = {
        "lab": "unit",
        "host": "cp1",
        "root": "/state/root",
        "lower": "/base",
        "upper": "/state/upper",
        "work": "/state/work",
        "disk": "",
        "namespace": "/state/net/cp1",
        "machine_id": "0" * 32,
        "init": "/init",
        "binds": (("/data:1", "/var/lib/etcd", True), ("/models", "/srv/models", False)),
        "memory_bytes": None,
    }
    return HostPlan(**{**values, **changes})  # type: ignore[arg-type]


def test_the_command_line_of_nspawn() -> None:
    legacy = supervise.command(_plan(), unified=False)
    assert "--bind=/data\\:1:/var/lib/etcd" in legacy
    assert "--bind-ro=/models:/srv/models" in legacy
    assert "--network-namespace-path=/state/net/cp1" in legacy
    assert legacy[legacy.index("--") + 1 :] == [
        "/init",
        "systemd.unified_cgroup_hierarchy=0",
        "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
    ]
    assert supervise.command(_plan(), unified=True)[-2:] == ["--", "/init"]


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = _plan(memory_bytes=1024)
    (tmp_path / "plan.json").write_text(plan.save())
    assert HostPlan.load(tmp_path / "plan.json") == plan


def test_the_root_is_put_together_in_a_namespace_of_its_own(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.add("mount", "umount")
    unshared: list[int] = []
    monkeypatch.setattr(os, "unshare", unshared.append)
    supervise.mount_root(_plan(disk="/state/disk.img"))
    assert unshared == [os.CLONE_NEWNS]
    mounts = [" ".join(call) for call in tools.calls if call[0] == "mount"]
    assert mounts[0] == "mount --make-rslave /"
    assert mounts[-2] == (
        "mount -t overlay -o lowerdir=/base,upperdir=/state/upper,workdir=/state/work overlay /state/root"
    )
    assert mounts[-1] == "mount -o loop /state/disk.img /state/root/var"


def test_namespaces_of_other_hosts_are_forgotten_at_once(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.add("umount")
    own = _plan().namespace
    line = "40 23 0:4 net:[4026532] {} rw shared:9 - nsfs nsfs rw\n"
    mounts = [own, "/state/net/gpu1", "/state/net/gpu2"]
    text = "22 1 8:1 / / rw - ext4 /dev/vda rw\n" + "".join(line.format(mount) for mount in mounts)
    monkeypatch.setattr(Path, "read_text", lambda *_: text)
    supervise._forget_other_namespaces(_plan())
    monkeypatch.undo()
    recorded = [json.loads(line) for line in (tools.directory / "calls.jsonl").read_text().splitlines()]
    assert recorded == [["umount", "--lazy", "/state/net/gpu1", "/state/net/gpu2"]]


def test_a_reboot_boots_again_and_a_poweroff_does_not(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.add("mount", "umount")
    (tmp_path / "plan.json").write_text(_plan().save())
    statuses = iter([133, 133, 0])
    boots: list[str] = []

    def boot(plan: HostPlan, _: object) -> int:
        boots.append(plan.host)
        return next(statuses)

    monkeypatch.setattr(os, "unshare", lambda _: None)
    monkeypatch.setattr(supervise, "_boot", boot)
    for method in ("create", "kill", "remove"):
        monkeypatch.setattr(HostGroup, method, lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert supervise.main(tmp_path) == 0
    assert boots == ["cp1"] * 3


def test_addresses_name_the_ports(spec: LabSpec) -> None:
    assert network._port(spec.host("gpu2")) == f"port{str(IPv4Address('10.77.0.22')).rpartition('.')[2]}"
