"""A lab from `up` to `destroy`, interrupted and killed on the way; nothing is left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.lab.bare import BareLab, all_namespaces, namespaces, pids_running, traces
from tests.lab.polling import until

CHECKOUT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="lab hosts need root"),
]


def test_three_hosts_answer_ssh_within_ten_seconds(scratch: BareLab) -> None:
    result = json.loads(scratch("up", "--hosts", "3", "--json").stdout)
    assert [host["name"] for host in result["hosts"]] == ["cp1", "gpu1", "gpu2"]
    assert {host["state"] for host in result["hosts"]} == {"ready"}
    seconds = {phase["phase"]: phase["seconds"] for phase in result["phases"]}
    assert seconds["files and network"] + seconds["boot to SSH"] <= 10


def test_up_leaves_running_hosts_alone(lab: BareLab) -> None:
    before = lab.on("gpu2", "cat /proc/sys/kernel/random/boot_id")
    lab("up")
    assert lab.on("gpu2", "cat /proc/sys/kernel/random/boot_id") == before


def test_up_with_other_hosts_is_refused_and_changes_nothing(lab: BareLab) -> None:
    done = lab("up", "--hosts", "1", ok=False)
    assert done.returncode == 9
    assert "host gpu1 differs or is left out" in done.stderr
    assert lab.states() == dict.fromkeys(("cp1", "gpu1", "gpu2"), "ready")


def test_down_keeps_what_up_brings_back(scratch: BareLab) -> None:
    scratch("up", "--hosts", "1")
    scratch.on("cp1", "sudo touch /var/kept")
    scratch("down")
    assert scratch.states() == {"cp1": "off"}
    scratch("up")
    scratch.on("cp1", "test -e /var/kept")


def test_two_labs_do_not_meet(lab: BareLab, scratch: BareLab) -> None:
    scratch("up", "--hosts", "1", "--subnet", "10.79.0.0/24")
    assert scratch.on("cp1", "cat /etc/machine-id") != lab.on("cp1", "cat /etc/machine-id")
    scratch.on("cp1", "sudo ping -c 1 -W 1 10.79.0.21", ok=False)


def test_destroy_leaves_nothing_behind(scratch: BareLab, tmp_path: Path) -> None:
    (tmp_path / "lab.yml").write_text("hosts: {cp1: {disk: 512M}, gpu1: {}}\n")
    scratch("up", "-f", str(tmp_path / "lab.yml"))
    left = traces(scratch)
    assert all(left.values()), left
    inodes = namespaces(scratch)
    scratch("destroy")
    assert not any(traces(scratch).values()), traces(scratch)
    assert not inodes & all_namespaces()
    scratch("destroy")


def test_destroy_after_everything_was_killed(scratch: BareLab) -> None:
    scratch("up", "--hosts", "2")
    for pid in pids_running("llmprov.lab.supervise", scratch.name):
        os.kill(pid, signal.SIGKILL)
    assert traces(scratch)["processes"]
    scratch("destroy")
    assert not any(traces(scratch).values()), traces(scratch)


@pytest.mark.parametrize("moment", ["lab.json", "net/gpu1", "hosts/cp1/supervisor.lock"])
def test_destroy_after_up_was_killed(scratch: BareLab, moment: str) -> None:
    with subprocess.Popen(scratch.command("up", "--hosts", "2"), env=scratch.environment) as up:
        while up.poll() is None and not (scratch.files / moment).exists():
            pass  # spins on purpose: the moment is short
        up.kill()
    scratch("destroy")
    assert not any(traces(scratch).values()), traces(scratch)


def test_up_completes_what_a_killed_up_began(scratch: BareLab) -> None:
    with subprocess.Popen(scratch.command("up", "--hosts", "2"), env=scratch.environment) as up:
        while up.poll() is None and not (scratch.files / "net" / "cp1").exists():
            pass  # spins on purpose: the moment is short
        up.kill()
    scratch("up", "--hosts", "2")
    scratch.on("cp1", "sudo ping -c 1 -W 2 10.77.0.21")


_HANGS = """\
import os, signal, subprocess, sys

def test_hangs(tmp_path):
    environment = os.environ | {"LLMPROV_STATE_DIR": str(tmp_path / "state")}
    up = [sys.executable, "-m", "llmprov", "lab", "up", "--name", "%s", "--hosts", "1"]
    subprocess.run([*up, "--inventory", str(tmp_path / "inventory")], env=environment, check=True)
    open("%s", "w").close()
    signal.pause()
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_run_of_tests_that_is_ended_leaves_no_lab(tmp_path: Path, sent: signal.Signals) -> None:
    name, up = f"e{os.getpid()}", tmp_path / "up"
    (tmp_path / "test_hangs.py").write_text(_HANGS % (name, up), encoding="utf-8")
    command = [str(CHECKOUT / "scripts" / "lab-pytest"), str(tmp_path), "-p", "no:cacheprovider"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as run:
        until(lambda: up.exists() or run.poll() is not None, seconds=60, what="a lab")
        assert pids_running(f"/llmprov-lab/{name}/")
        run.send_signal(sent)
        assert run.wait(60) == 128 + sent
    assert not pids_running(f"/llmprov-lab/{name}")


def test_missing_tools_are_all_named_at_once(scratch: BareLab, tmp_path: Path) -> None:
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
