"""Inputs an install refuses: one message, its remedy, a documented exit code, and hosts that nobody touched."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmprov.bundle.lock import BundleLock
from llmprov.paths import cache_dir
from tests.lab.conftest import Lab, booted
from tests.lab.looks import state
from tests.lab.weights import make_sparse

pytestmark = pytest.mark.lab
HOSTS = ("cp1", "gpu1")
_SPEC = """\
subnet: 10.77.45.0/24
hosts:
  cp1: {}
  gpu1: {}
  gpu2: {disk: 512M}
"""
_LISTEN = "import signal,socket; s=socket.create_server(('',6443)); signal.pause()"
_SWAP = "/var/lib/etcd/swap"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, lab_environment: dict[str, str]) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("refusals")
    (directory / "lab.yml").write_text(_SPEC, encoding="utf-8")
    silent = lab_environment | {"LLMPROV_PROGRESS": "silent"}
    with booted("refusals", directory, silent, "-f", str(directory / "lab.yml")) as running:
        yield running


@dataclass(frozen=True)
class Unfit:
    """A host that cannot be installed: how it becomes so and stops being so, and what is said about it."""

    host: str
    spoil: str
    repair: str
    problem: str
    remedy: str
    settings: str = ""
    limit: str = "cp1,gpu1"


UNFIT = {
    "port 6443 is taken": Unfit(
        "cp1",
        f"sudo systemd-run -u squatter python3 -c {shlex.quote(_LISTEN)}; until ss -ltn | grep -q :6443; do :; done",
        "sudo systemctl stop squatter",
        r"cp1: port 6443 is taken by python3 \(pid \d+, squatter\.service\); kube-apiserver needs it",
        "systemctl disable --now squatter.service",
    ),
    "an unsupported system": Unfit(
        "gpu1",
        "sudo cp -L /etc/os-release /var/tmp/; sudo sed -i 's/^VERSION_ID=.*/VERSION_ID=\"11\"/' /etc/os-release",
        "sudo cp /var/tmp/os-release /etc/os-release",
        r"gpu1: runs .* \(debian 11\), which is not supported",
        "install one of: debian 12, debian 13",
    ),
    # Swap of a container's machine: what one host turned on, the other sees and cannot turn off.
    "swap that cannot be turned off": Unfit(
        "cp1",
        f"sudo sh -c 'dd if=/dev/zero of={_SWAP} bs=1M count=16 status=none && chmod 600 {_SWAP} && mkswap -q {_SWAP} "
        f"&& swapon {_SWAP}'",
        f"sudo swapoff {_SWAP}; sudo rm {_SWAP}",
        r"gpu1: swap \S+ cannot be turned off: it belongs to the machine that holds this container",
        "turn it off on that machine: swapoff -a",
        settings="base_swap_off: true\n",
    ),
    "too little disk, and a model larger than it": Unfit(
        "gpu2",
        "true",
        "true",
        r"gpu2: too little disk: 0\.\d GiB free for \S+, \d+\.\d GiB needed \(Kubernetes 3\.0 GiB \+ vllm "
        r"(.|\n)*gpu2: model smollm2 needs 0\.\d GiB to pull; the disk of /var/lib/containerd has 0\.\d GiB",
        "choose a smaller or quantised model",
        limit="cp1,gpu2",
    ),
}


@pytest.mark.parametrize("case", UNFIT.values(), ids=UNFIT)
def test_a_host_that_is_unfit(lab: Lab, case: Unfit) -> None:
    with _appended(lab.inventory / "host_vars" / "gpu1.yml", case.settings):
        lab.ssh(case.host, case.spoil)
        try:
            before = _states(lab, *case.limit.split(","))
            printed = _refused(lab, 4, "--limit", case.limit)
            assert _states(lab, *case.limit.split(",")) == before
        finally:
            lab.ssh(case.host, case.repair)
    assert re.search(case.problem, printed), printed
    assert case.remedy in printed
    assert "nothing was changed on them" in printed


def test_a_host_that_does_not_answer(lab: Lab) -> None:
    before = _states(lab, *HOSTS)
    lab.llmprov("lab", "cut", "gpu1", "--name", lab.name)
    try:
        printed = _refused(lab, 6, "--limit", "cp1,gpu1")
    finally:
        lab.llmprov("lab", "heal", "gpu1", "--name", lab.name)
    assert re.search("gpu1: .*unreachable over SSH → check that the host is up", printed), printed
    assert _states(lab, *HOSTS) == before


def test_a_changed_host_key(lab: Lab, tmp_path: Path) -> None:
    known = Path(lab.environment["LLMPROV_STATE_DIR"], "lab", lab.name, "known_hosts")
    right = known.read_text(encoding="utf-8")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    key = " ".join((tmp_path / "other.pub").read_text(encoding="utf-8").split()[:2])
    wrong = re.sub(r"^(gpu1\S*) .*$", rf"\1 {key}", right, flags=re.MULTILINE)
    assert wrong != right
    before = _states(lab, *HOSTS)
    known.write_text(wrong, encoding="utf-8")
    try:
        printed = _refused(lab, 6, "--limit", "cp1,gpu1")
    finally:
        known.write_text(right, encoding="utf-8")
    assert "its host key is not the one in known_hosts" in printed
    assert f"ssh-keygen -f {known} -R" in printed
    assert _states(lab, *HOSTS) == before


def test_a_wrong_sudo_password(lab: Lab) -> None:
    rule = "/etc/sudoers.d/ops"
    asks = f"echo ops:correct | chpasswd; echo 'ops ALL=(ALL:ALL) ALL' > {rule}"
    sudo = "echo correct | sudo -S -p ''"
    lab.ssh("gpu1", f"sudo sh -c {shlex.quote(asks)}")
    try:
        before = state(lab, "cp1"), state(lab, "gpu1", sudo=sudo)
        with _appended(lab.inventory / "host_vars" / "gpu1.yml", "ansible_become_password: wr0ng-horse\n"):
            printed = _refused(lab, 6, "--limit", "cp1,gpu1")
        assert (state(lab, "cp1"), state(lab, "gpu1", sudo=sudo)) == before
    finally:
        lab.ssh("gpu1", f"{sudo} sh -c \"echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' > {rule}\"")
    assert "gpu1: sudo refuses the password → correct ansible_become_password" in printed
    assert "wr0ng-horse" not in printed


def test_a_bundle_with_a_missing_and_a_corrupt_artifact(lab: Lab, tmp_path: Path) -> None:
    """Every other artifact of the copy is a link, so that it takes no space and no time."""
    whole = cache_dir() / "bundle"
    lock = BundleLock.load(whole)
    spoiled = tmp_path / "bundle"
    shutil.copytree(whole, spoiled, copy_function=lambda source, target: Path(target).symlink_to(source))
    blobs = spoiled / "blobs" / "sha256"
    (blobs / lock.file("kubelet").sha256).unlink()
    corrupt = blobs / lock.file("runc").sha256
    content = bytearray(corrupt.read_bytes())
    content[len(content) // 2] ^= 1
    corrupt.unlink()
    corrupt.write_bytes(content)
    before = _states(lab, *HOSTS)
    with _appended(lab.inventory / "group_vars" / "all.yml", f"cluster_bundle_dir: {spoiled}\n"):
        printed = _refused(lab, 5, "--limit", "cp1,gpu1")
    assert "has 2 bad files; no host was touched" in printed
    assert f"{lock.file('kubelet').sha256}: missing (kubelet)" in printed
    assert re.search(rf"{lock.file('runc').sha256}: wrong digest: sha256 is [0-9a-f]{{64}} \(runc\)", printed), printed
    assert "llmprov bundle build replaces what is bad" in printed
    assert _states(lab, *HOSTS) == before


def test_no_bundle(lab: Lab, tmp_path: Path) -> None:
    before = _states(lab, *HOSTS)
    with _appended(lab.inventory / "group_vars" / "all.yml", f"cluster_bundle_dir: {tmp_path / 'nothing'}\n"):
        printed = _refused(lab, 5, "--limit", "cp1,gpu1")
    assert f"no bundle in {tmp_path / 'nothing'}" in printed
    assert _states(lab, *HOSTS) == before


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("hosts.yml", "  - [\n", "YAML error"),
        ("group_vars/all.yml", "clutser_name: rack\n", "unknown key → did you mean cluster_name?"),
        ("host_vars/gpu1.yml", "ansible_host: 10.77.45.11\n", "duplicate address, cp1 has it too"),
        ("models/Big_Model.yml", "name: Big_Model\nsource: {artifact: smollm2-135m-instruct}\n", "Big_Model"),
    ],
    ids=["YAML error", "unknown key", "duplicate address", "name not DNS-1123"],
)
def test_an_inventory_with_an_error(lab: Lab, file: str, text: str, problem: str) -> None:
    before = _states(lab, *HOSTS)
    with _appended(lab.inventory / file, text):
        printed = _refused(lab, 3)
    assert problem in printed
    assert "no host was touched" in printed
    assert _states(lab, *HOSTS) == before


def test_no_such_inventory(lab: Lab, tmp_path: Path) -> None:
    done = lab.llmprov("install", "-i", str(tmp_path / "nowhere"), check=False)
    assert done.exit_code == 3
    assert "remedy: name an existing directory or hosts file with -i" in done.stderr


def test_a_model_larger_than_one_hosts_disk(lab: Lab, tmp_path: Path) -> None:
    make_sparse(tmp_path / "model", 400 << 20)
    before = _states(lab, *HOSTS, "gpu2")
    done = lab.llmprov("model", "push", str(tmp_path / "model"), "large", "-i", str(lab.inventory), check=False)
    assert done.exit_code == 10
    assert "the model (0.4 GiB) does not fit on 1 of 3 hosts" in done.stderr
    assert re.search(r"gpu2: 0\.\d GiB free under /var/lib/containerd, needed 1\.8 GiB", done.stderr), done.stderr
    assert "remedy: free or add disk there" in done.stderr
    assert _states(lab, *HOSTS, "gpu2") == before


def test_hosts_were_fit_all_along(lab: Lab) -> None:
    """What was refused above was refused for the reason given."""
    done = lab.llmprov("install", "-i", str(lab.inventory), "--limit", "cp1,gpu1", "--check", check=False)
    assert done.exit_code == 0, done.stderr


def _refused(lab: Lab, exit_code: int, *arguments: str) -> str:
    """Run an install that must be refused with one message and a remedy; returns what it printed."""
    done = lab.llmprov("install", "-i", str(lab.inventory), *arguments, check=False, timeout=120)
    assert done.exit_code == exit_code, done.stdout + done.stderr
    assert done.stdout == ""
    assert len(re.findall(r"^error: ", done.stderr, re.MULTILINE)) == 1, done.stderr
    assert len(re.findall(r"^remedy: ", done.stderr, re.MULTILINE)) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def _states(lab: Lab, *hosts: str) -> dict[str, list[str]]:
    return {host: state(lab, host) for host in hosts}


@contextmanager
def _appended(file: Path, text: str) -> Iterator[None]:
    """Add to a file of the inventory for a while, or make it."""
    before = file.read_text(encoding="utf-8") if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    file.write_text((before or "") + text, encoding="utf-8")
    try:
        yield
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before, encoding="utf-8")
