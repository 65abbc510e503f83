"""What can be done to a lab's hosts: power, cables, full disks, and reboots."""

import os
import subprocess

import pytest

from tests.lab.bare import BareLab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="lab hosts need root"),
]


def test_kubernetes_finds_what_it_needs_also_after_a_reboot_from_inside(lab: BareLab) -> None:
    _assert_fit_for_kubernetes(lab, "gpu2")
    before = lab.on("gpu2", "cat /proc/sys/kernel/random/boot_id")
    lab("reboot", "gpu2")
    assert lab.on("gpu2", "cat /proc/sys/kernel/random/boot_id") != before
    _assert_fit_for_kubernetes(lab, "gpu2")


def _assert_fit_for_kubernetes(lab: BareLab, host: str) -> None:
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


def test_power_and_disk_survive_separately(lab: BareLab) -> None:
    lab.on("gpu2", "sudo touch /root/kept")
    lab("poweroff", "gpu2")
    assert lab.states()["gpu2"] == "off"
    lab("start", "gpu2")
    lab.on("gpu2", "sudo test -e /root/kept && sync")
    lab("poweroff", "--hard", "gpu2")
    assert lab.states()["gpu2"] == "off"
    lab("start", "gpu2")
    lab.on("gpu2", "sudo test -e /root/kept")


def test_a_cut_host_is_unreachable_until_healed(lab: BareLab) -> None:
    lab("cut", "gpu2")
    assert lab.states()["gpu2"] == "cut"
    lab.on("gpu1", "sudo ping -c 1 -W 1 10.79.0.22", ok=False)
    lab("heal", "gpu2")
    assert lab.states()["gpu2"] == "ready"
    lab.on("gpu1", "sudo ping -c 1 -W 2 10.79.0.22")


def test_a_small_disk_fills_up_and_only_that(lab: BareLab) -> None:
    assert "No space left" in lab.on("gpu1", "sudo fallocate -l 2G /var/lib/big", ok=False)
    lab.on("gpu1", "sudo rm -f /var/lib/big; sudo sh -c 'echo still > /root/writable'")


def test_a_memory_limit_ends_what_exceeds_it(lab: BareLab) -> None:
    lab.on("cp1", "python3 -c 'bytearray(100 << 20)'")
    lab.on("cp1", "python3 -c 'bytearray(800 << 20)'", ok=False)
    lab.on("gpu2", "python3 -c 'bytearray(800 << 20)'")


def test_hosts_boot_on_cgroup_v2(scratch: BareLab) -> None:
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
