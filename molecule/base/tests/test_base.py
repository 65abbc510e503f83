"""Role base: the running kernel and what the next boot will read."""

import json

import pytest
from testinfra.host import Host

from llmprov.stages import RECORD_SCHEMA


@pytest.mark.parametrize(
    ("name", "value"),
    [("net.ipv4.ip_forward", 1), ("net.bridge.bridge-nf-call-iptables", 1)],
)
def test_sysctls_are_in_force_and_persist(node: Host, name: str, value: int) -> None:
    assert node.file(f"/proc/sys/{name.replace('.', '/')}").content_string.strip() == str(value)
    assert f"{name} = {value}" in node.file("/etc/sysctl.d/90-llmprov.conf").content_string


def test_modules_load_at_boot(node: Host) -> None:
    assert "br_netfilter" in node.file("/etc/modules-load.d/90-llmprov.conf").content_string.splitlines()


def test_login_sessions_may_lock_memory(node: Host) -> None:
    assert "* hard memlock unlimited" in node.file("/etc/security/limits.d/90-llmprov.conf").content_string.splitlines()


def test_swap_is_left_to_the_machine_that_runs_the_lab(node: Host) -> None:
    assert not node.file("/etc/systemd/system/swap.target").exists


def test_record_names_the_files_with_their_digests(node: Host) -> None:
    record = json.loads(node.file("/var/lib/llmprov/stages/base.json").content_string)
    assert record["stage"] == "base"
    assert len(record["fingerprint"]) == 64
    assert record["schema"] == RECORD_SCHEMA
    assert {"role base", "role cluster", "variable base_swap_off"} <= record["inputs"].keys()
    assert node.file("/var/lib/llmprov/stages/base.json").mode == 0o600
    for path, digest in record["files"].items():
        assert node.file(path).sha256sum == digest
