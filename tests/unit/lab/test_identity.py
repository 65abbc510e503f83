"""A host's own files: different for every host, with the modes that sudo and sshd insist on."""

import os
import subprocess
from pathlib import Path

import pytest

from llmprov.lab import identity
from llmprov.lab.spec import LabSpec, build

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of other owners need root")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base/etc").mkdir(parents=True)
    (tmp_path / "base/etc/shadow").write_text("root:*:1:0:99999:7:::\nops:!:1:0:99999:7:::\n")
    return tmp_path / "base"


def _seed(spec: LabSpec, name: str, base: Path, directory: Path) -> tuple[Path, str]:
    root = directory / name / "upper"
    root.mkdir(parents=True)
    return root, identity.seed(spec, spec.host(name), root, base, "ssh-ed25519 AAAA controller")


def test_hosts_differ_in_everything_that_identifies_them(spec: LabSpec, base: Path, tmp_path: Path) -> None:
    first, first_key = _seed(spec, "cp1", base, tmp_path)
    second, second_key = _seed(spec, "gpu1", base, tmp_path)
    assert first_key != second_key
    for name in ("etc/hostname", "etc/machine-id", "etc/hosts", "usr/local/lib/lab/product_uuid"):
        assert (first / name).read_text() != (second / name).read_text()
    assert (first / "etc/hostname").read_text() == "cp1\n"
    assert (first / "etc/resolv.conf").read_text() == "nameserver 10.77.0.1\n"


def test_modes_and_owners_are_those_of_a_server(spec: LabSpec, base: Path, tmp_path: Path) -> None:
    root, _ = _seed(spec, "cp1", base, tmp_path)
    modes = {
        "etc": (0o755, 0),
        "etc/ssh/ssh_host_ed25519_key": (0o600, 0),
        "etc/sudoers.d/ops": (0o440, 0),
        "home": (0o755, 0),
        "home/ops": (0o700, 1000),
        "home/ops/.ssh": (0o700, 1000),
        "home/ops/.ssh/authorized_keys": (0o600, 1000),
        "usr/local/lib/lab/init": (0o755, 0),
    }
    for name, expected in modes.items():
        status = (root / name).stat()
        assert (status.st_mode & 0o777, status.st_uid) == expected, name


def test_sudo_asks_for_a_password_only_when_the_lab_says_so(base: Path, tmp_path: Path) -> None:
    free, _ = _seed(build({"hosts": {"cp1": {}}}), "cp1", base, tmp_path / "free")
    asked, _ = _seed(build({"sudo_password": "secret", "hosts": {"cp1": {}}}), "cp1", base, tmp_path / "asked")
    assert "NOPASSWD" in (free / "etc/sudoers.d/ops").read_text()
    assert not (free / "etc/shadow").exists()
    assert "NOPASSWD" not in (asked / "etc/sudoers.d/ops").read_text()
    root, ops = (asked / "etc/shadow").read_text().splitlines()
    assert root == "root:*:1:0:99999:7:::"
    salt = ops.split("$")[2]
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-salt", salt, "-stdin"],
        input="secret\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert ops == f"ops:{hashed.stdout.strip()}:1:0:99999:7:::"


def test_a_key_is_made_once_and_half_a_key_again(tmp_path: Path) -> None:
    key = tmp_path / "key"
    first = identity.make_key(key, "comment")
    assert first.startswith("ssh-ed25519 ")
    assert identity.make_key(key, "comment") == first
    key.with_name("key.pub").unlink()
    assert identity.make_key(key, "comment") != first


def test_the_first_process_is_a_shell_script_without_errors(spec: LabSpec, base: Path, tmp_path: Path) -> None:
    root, _ = _seed(spec, "cp1", base, tmp_path)
    script = root / "usr/local/lib/lab/init"
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert script.read_text().splitlines()[-1] == 'exec /sbin/init "$@"'
