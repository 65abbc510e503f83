"""Preflight on real hosts: nothing is changed, and each way in which a host can be unfit is named with its remedy."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Lab, booted
from tests.lab.looks import state

pytestmark = pytest.mark.lab

_SPEC = """\
subnet: 10.77.41.0/24
hosts:
  cp1: {}
  gpu1: {}
  gpu2: {disk: 1G, base: bookworm}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, lab_environment: dict[str, str]) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("preflight")
    spec = directory / "lab.yml"
    spec.write_text(_SPEC, encoding="utf-8")
    with booted("preflight", directory, lab_environment, "-f", str(spec)) as running:
        yield running


def preflight(lab: Lab, *, exit_code: int, limit: str = "cp1,gpu1") -> dict[str, Any]:
    """Run preflight; its exit code must be the expected one. Returns the JSON document."""
    done = lab.llmprov("preflight", "-i", str(lab.inventory), "--json", "--limit", limit, check=False)
    assert done.exit_code == exit_code, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_code"] == exit_code
    return document


def only(document: dict[str, Any]) -> dict[str, str]:
    """Return the one finding there is."""
    (finding,) = document["findings"]
    assert isinstance(finding, dict)
    return finding


@contextmanager
def spoiled(lab: Lab, host: str, spoil: str, repair: str) -> Iterator[None]:
    """Spoil a host for a while."""
    lab.ssh(host, spoil)
    try:
        yield
    finally:
        lab.ssh(host, repair)


def test_fit_hosts_are_fit_and_stay_untouched(lab: Lab) -> None:
    before = {host: state(lab, host) for host in ("cp1", "gpu1")}
    document = preflight(lab, exit_code=0)
    assert document["fit"] is True
    assert document["findings"] == []
    assert sorted(document["hosts"]) == ["cp1", "gpu1"]
    after = {host: state(lab, host) for host in ("cp1", "gpu1")}
    for host, lines in before.items():
        assert after[host] == lines


def test_port_6443_is_taken(lab: Lab) -> None:
    listen = "import signal,socket; s=socket.create_server(('',6443)); signal.pause()"
    spoil = f"sudo systemd-run -u squatter python3 -c {shlex.quote(listen)}; until ss -ltn | grep -q :6443; do :; done"
    with spoiled(lab, "cp1", spoil, "sudo systemctl stop squatter"):
        finding = only(preflight(lab, exit_code=4))
    assert (finding["host"], finding["check"]) == ("cp1", "ports")
    assert re.fullmatch(
        r"port 6443 is taken by python3 \(pid \d+, squatter\.service\); kube-apiserver needs it", finding["problem"]
    )
    assert "systemctl disable --now squatter.service" in finding["remedy"]
    preflight(lab, exit_code=0)


def test_a_host_that_is_off(lab: Lab) -> None:
    lab.llmprov("lab", "poweroff", "gpu1", "--name", lab.name)
    try:
        finding = only(preflight(lab, exit_code=6))
    finally:
        lab.llmprov("lab", "start", "gpu1", "--name", lab.name)
    assert (finding["host"], finding["check"]) == ("gpu1", "connection")
    assert "unreachable over SSH" in finding["problem"]
    assert "check that the host is up" in finding["remedy"]


def test_a_changed_host_key_comes_with_the_command_that_forgets_it(lab: Lab, tmp_path: Path) -> None:
    known = Path(lab.environment["LLMPROV_STATE_DIR"], "lab", lab.name, "known_hosts")
    right = known.read_text(encoding="utf-8")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    kind, key = (tmp_path / "other.pub").read_text(encoding="utf-8").split()[:2]
    wrong = re.sub(r"^(gpu1\S*) .*$", rf"\1 {kind} {key}", right, flags=re.MULTILINE)
    assert wrong != right
    try:
        known.write_text(wrong, encoding="utf-8")
        finding = only(preflight(lab, exit_code=6))
        assert (finding["host"], finding["check"]) == ("gpu1", "connection")
        assert "its host key is not the one in known_hosts" in finding["problem"]
        command = re.search(r"ssh-keygen -f \S+ -R \S+[^, ]", finding["remedy"])
        assert command is not None
        subprocess.run(shlex.split(command[0]), check=True, capture_output=True)
        assert "its host key is unknown" in only(preflight(lab, exit_code=6))["problem"]
    finally:
        known.write_text(right, encoding="utf-8")
    preflight(lab, exit_code=0)


def test_sudo_without_and_with_a_wrong_password(lab: Lab) -> None:
    variables = lab.inventory / "host_vars" / "gpu1.yml"
    variables.parent.mkdir()
    # Whoever takes away the right to sudo needs another way back.
    rule = "/etc/sudoers.d/ops"
    script = f"echo ops:correct | chpasswd; echo 'ops ALL=(ALL:ALL) ALL' > {rule}"
    repair = f"echo correct | sudo -S sh -c \"echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' > {rule}\""
    with spoiled(lab, "gpu1", f"sudo sh -c {shlex.quote(script)}", repair):
        missing = only(preflight(lab, exit_code=6))
        variables.write_text("ansible_become_password: wr0ng-horse\n", encoding="utf-8")
        done = lab.llmprov("preflight", "-i", str(lab.inventory), "--limit", "gpu1", check=False)
        variables.write_text("ansible_become_password: correct\n", encoding="utf-8")
        preflight(lab, exit_code=0)
    variables.unlink()
    assert missing["problem"] == "sudo asks for a password, and the inventory gives none"
    assert done.exit_code == 6
    assert "sudo refuses the password" in done.stdout
    assert "correct ansible_become_password" in done.stdout
    journals = Path(lab.environment["LLMPROV_STATE_DIR"], "runs")
    everything = (
        done.stdout
        + done.stderr
        + "".join(file.read_text(encoding="utf-8", errors="replace") for file in journals.rglob("*") if file.is_file())
    )
    assert "wr0ng-horse" not in everything


def test_an_unsupported_system(lab: Lab) -> None:
    edit = "cp -L /etc/os-release /var/tmp/; sed -i 's/^VERSION_ID=.*/VERSION_ID=\"11\"/' /etc/os-release"
    with spoiled(lab, "gpu1", f"sudo sh -c {shlex.quote(edit)}", "sudo cp /var/tmp/os-release /etc/os-release"):
        finding = only(preflight(lab, exit_code=4))
    assert (finding["host"], finding["check"]) == ("gpu1", "os")
    assert "(debian 11), which is not supported" in finding["problem"]


def test_too_little_disk_and_an_older_release(lab: Lab) -> None:
    finding = only(preflight(lab, exit_code=4, limit="gpu2"))
    assert (finding["host"], finding["check"]) == ("gpu2", "disk")
    assert "too little disk" in finding["problem"]


def test_hosts_that_do_not_reach_each_other(lab: Lab) -> None:
    with spoiled(
        lab, "cp1", "sudo ip route add blackhole 10.77.41.21/32", "sudo ip route del blackhole 10.77.41.21/32"
    ):
        found = preflight(lab, exit_code=4)["findings"]
    # The answers of cp1 cannot get back, so neither reaches the other.
    assert {(finding["host"], finding["check"]) for finding in found} == {("cp1", "network"), ("gpu1", "network")}
    assert any("gpu1 (10.77.41.21: no route)" in finding["problem"] for finding in found)


def test_everything_at_once(lab: Lab) -> None:
    clone = lab.ssh("cp1", "cat /etc/machine-id").strip()
    spoil = (
        "sudo cp /etc/machine-id /var/tmp/machine-id; sudo ip link set eth0 mtu 1400; "
        f"echo {clone} | sudo tee /etc/machine-id; "
        "sudo mkdir -p /etc/cni/net.d; sudo touch /etc/cni/net.d/10-other.conf"
    )
    repair = "sudo cp /var/tmp/machine-id /etc/machine-id; sudo ip link set eth0 mtu 1500; sudo rm -r /etc/cni"
    with spoiled(lab, "gpu1", spoil, repair):
        found = preflight(lab, exit_code=4, limit="all")["findings"]
    checks = {(finding["host"], finding["check"]) for finding in found}
    assert {("cp1, gpu1", "identity"), ("gpu1", "remains"), ("", "mtu"), ("gpu2", "disk")} <= checks
    assert all(finding["remedy"] for finding in found)
    preflight(lab, exit_code=0)
