"""Bare hosts to Ready nodes and back: check mode, interruption, second run, reset, and hosts that refuse."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import KUBECTL, Lab, booted

pytestmark = pytest.mark.lab

# What an install could leave behind. Left out: what the running system itself changes, the tests' own connections,
# and the backups that dpkg and ucf keep of their own books.
_FILES = r"""
sudo find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /dev -o -path /home
  -o -path /var/log -o -path /var/tmp -o -path /var/cache -o -path /var/lib/systemd
  -o -path '/var/lib/dpkg/*-old' -o -path '/var/lib/ucf/*.[0-9]' \) -prune
  -o \( -type f -o -type l \) -printf '%p\n' | sort
"""
_UNITS = "systemctl list-unit-files --no-legend --type=service,socket,timer | awk '{print $1, $2}' | sort"
_LINKS = "ip -o link | awk -F': ' '{print $2}' | sort"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, lab_environment: dict[str, str]) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("install")
    with booted("install", directory, lab_environment, "--hosts", "2", "--subnet", "10.77.42.0/24") as running:
        yield running


@pytest.fixture(scope="module")
def bare(lab: Lab) -> dict[str, dict[str, set[str]]]:
    """How the hosts look before anything is installed."""
    return {host: _look(lab, host) for host in ("cp1", "gpu1")}


def _look(lab: Lab, host: str) -> dict[str, set[str]]:
    commands = {"files": _FILES.replace("\n", " "), "units": _UNITS, "links": _LINKS}
    return {name: set(lab.ssh(host, command).splitlines()) for name, command in commands.items()}


def _install(lab: Lab, *arguments: str) -> dict[str, dict[str, dict[str, int]]]:
    done = lab.llmprov("install", "-i", str(lab.inventory), "--until", "worker", "--json", *arguments)
    document: dict[str, dict[str, dict[str, int]]] = json.loads(done.stdout)
    return document


def test_check_mode_on_bare_hosts_changes_nothing(lab: Lab, bare: dict[str, dict[str, set[str]]]) -> None:
    document = _install(lab, "--check")
    assert any(line.startswith("gpu1: ") for line in document["changes"])
    assert {host: _look(lab, host) for host in bare} == bare


def test_ctrl_c_in_the_middle_leaves_no_process(lab: Lab, bare: dict[str, dict[str, set[str]]]) -> None:
    assert bare
    command = [sys.executable, "-m", "llmprov", "install", "-i", str(lab.inventory), "--until", "worker"]
    environment = lab.environment | {"LLMPROV_PROGRESS": "plain"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "gpu1 runtime" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "interrupted" in rest
    assert _processes_of(Path(lab.environment["LLMPROV_STATE_DIR"])) == []


def test_the_same_command_completes_and_then_changes_nothing(lab: Lab) -> None:
    _install(lab)
    again = _install(lab)
    assert {host: counts["changed"] for host, counts in again["hosts"].items()} == {"cp1": 0, "gpu1": 0}
    nodes = lab.ssh("cp1", f"{KUBECTL} get nodes --no-headers")
    assert [line.split()[:2] for line in sorted(nodes.splitlines())] == [["cp1", "Ready"], ["gpu1", "Ready"]]


def test_a_journal_is_left_and_nothing_else(lab: Lab) -> None:
    runs = Path(lab.environment["LLMPROV_STATE_DIR"]) / "runs"
    assert {path.name for path in runs.rglob("*") if path.is_file()} == {"journal.jsonl"}


def test_a_host_that_is_down_is_named_with_its_remedy(lab: Lab) -> None:
    lab.llmprov("lab", "cut", "gpu1", "--name", lab.name)
    try:
        done = lab.llmprov(
            "install", "-i", str(lab.inventory), "--until", "worker", "--skip-preflight", check=False, timeout=300
        )
    finally:
        lab.llmprov("lab", "heal", "gpu1", "--name", lab.name)
    assert done.exit_code == 6
    assert "install failed on 1 host: gpu1" in done.stderr
    assert "remedy:" in done.stderr


def test_a_changed_host_key_stops_the_install(lab: Lab, tmp_path: Path) -> None:
    """Somebody else answers at gpu1's address: nothing is sent to it."""
    known = tmp_path / "known_hosts"
    config = (lab.inventory / "ssh.cfg").read_text(encoding="utf-8")
    original = Path(re.findall(r'UserKnownHostsFile "?([^"\n]+)"?', config)[0])
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    other = " ".join((tmp_path / "other.pub").read_text(encoding="ascii").split()[:2])
    lines = original.read_text(encoding="ascii").splitlines()
    changed = [
        f"{line.split()[0]} {other}" if "gpu1" in line.split()[0] or ".21" in line.split()[0] else line
        for line in lines
    ]
    known.write_text("\n".join(dict.fromkeys(changed)) + "\n", encoding="ascii")
    (lab.inventory / "ssh.cfg").write_text(config.replace(str(original), str(known)), encoding="utf-8")
    try:
        done = lab.llmprov("install", "-i", str(lab.inventory), "--until", "base", "--skip-preflight", check=False)
    finally:
        (lab.inventory / "ssh.cfg").write_text(config, encoding="utf-8")
    assert done.exit_code == 6
    assert "gpu1" in done.stderr
    assert "ssh-keygen" in done.stderr


def test_reset_brings_bare_hosts_back(lab: Lab, bare: dict[str, dict[str, set[str]]]) -> None:
    refused = lab.llmprov("reset", "-i", str(lab.inventory), check=False)
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    lab.llmprov("reset", "-i", str(lab.inventory), "--yes")
    for host, before in bare.items():
        after = _look(lab, host)
        left = {what: after[what] - before[what] for what in before}
        gone = {what: before[what] - after[what] for what in before}
        assert left == {"files": set(), "units": set(), "links": set()}, host
        assert gone == {"files": set(), "units": set(), "links": set()}, host


def test_after_a_reset_it_installs_again(lab: Lab) -> None:
    assert all(counts["changed"] > 0 for counts in _install(lab)["hosts"].values())


def _processes_of(state: Path) -> list[str]:
    """Command lines of processes that carry a run's mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if f"LLMPROV_RUN_DIRECTORY={state}".encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return found
