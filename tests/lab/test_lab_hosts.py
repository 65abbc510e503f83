"""What a lab's hosts are: real ones, as a rack gives them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.bare import BareLab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="lab hosts need root"),
]


def test_every_host_has_an_identity_of_its_own(lab: BareLab) -> None:
    hosts = ("cp1", "gpu1", "gpu2")
    script = "hostname; cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub; hostname -I"
    seen = [lab.on(host, script).split() for host in hosts]
    assert tuple(lines[0] for lines in seen) == hosts
    for column in range(4):
        assert len({lines[column] for lines in seen}) == 3


def test_hosts_reach_each_other_and_nothing_else(lab: BareLab) -> None:
    lab.on("gpu1", "sudo ping -c 1 -W 2 10.79.0.11")
    assert "default via 10.79.0.1" in lab.on("gpu1", "ip route")
    lab.on("gpu1", "sudo ping -c 1 -W 2 192.0.2.1", ok=False)
    lab.on("gpu1", "timeout 5 bash -c '</dev/tcp/1.1.1.1/443'", ok=False)
    lab.on("gpu1", "timeout 15 getent hosts debian.org", ok=False)


def test_login_is_that_of_a_real_server(lab: BareLab) -> None:
    assert lab.on("cp1", "id -un; sudo -n id -un") == "ops\nroot"
    assert "Permission denied" in lab.on("cp1", "true", ok=False, user="root")


def test_plain_ansible_works_with_the_inventory(lab: BareLab) -> None:
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


def test_a_changed_host_key_is_refused(lab: BareLab, tmp_path: Path) -> None:
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


def test_sudo_can_ask_for_a_password(scratch: BareLab, tmp_path: Path) -> None:
    (tmp_path / "lab.yml").write_text("sudo_password: open sesame\nhosts: {cp1: {}}\n")
    scratch("up", "-f", str(tmp_path / "lab.yml"))
    assert "password is required" in scratch.on("cp1", "sudo -n true", ok=False)
    assert scratch.on("cp1", "echo open sesame | sudo -S -p '' id -un") == "root"


def test_a_bound_directory_is_read_only(lab: BareLab) -> None:
    assert lab.on("gpu2", "cat /srv/models/weights") == "seen from outside"
    assert "Read-only" in lab.on("gpu2", "sudo touch /srv/models/new", ok=False)


def test_ssh_verb_runs_a_command_and_returns_its_status(lab: BareLab) -> None:
    assert lab("ssh", "gpu1", "grep", "VERSION_CODENAME", "/etc/os-release").stdout == "VERSION_CODENAME=bookworm\n"
    assert lab("ssh", "gpu1", "exit 7", ok=False).returncode == 7


def test_unknown_host_and_unknown_lab_are_named(lab: BareLab, scratch: BareLab) -> None:
    assert "its hosts are: cp1, gpu1, gpu2" in lab("cut", "gpu9", ok=False).stderr
    done = scratch("status", ok=False)
    assert done.returncode == 9
    assert "there is no lab" in done.stderr
