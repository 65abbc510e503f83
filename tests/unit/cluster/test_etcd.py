"""The way to etcd: a control plane's own certificate for health checks, read over SSH."""

import subprocess
from pathlib import Path

import pytest

from llmprov import ssh
from llmprov.cluster.credentials import ControlPlane
from llmprov.cluster.etcd import read_credentials
from llmprov.errors import ClusterError, HostConnectionError
from llmprov.ssh import RemoteResult, SshTarget

PLANE = ControlPlane("cp2", SshTarget("cp2"), sudo_password=lambda: "hunter2")


@pytest.fixture
def files(tmp_path: Path) -> bytes:
    """An authority, a certificate and its key, one after the other."""
    options = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name in ("ca", "client"):
        out = ("-subj", f"/CN={name}", "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt")
        subprocess.run(["openssl", "req", "-x509", *options, *out], check=True, capture_output=True)
    return b"".join((tmp_path / name).read_bytes() for name in ("ca.crt", "client.crt", "client.key"))


def answering(monkeypatch: pytest.MonkeyPatch, result: RemoteResult) -> list[tuple[list[str], bytes]]:
    calls: list[tuple[list[str], bytes]] = []

    def run(_target: SshTarget, argv: list[str], *, stdin: bytes = b"") -> RemoteResult:
        calls.append((argv, stdin))
        return result

    monkeypatch.setattr(ssh, "run", run)
    return calls


def test_the_password_is_not_in_the_command(monkeypatch: pytest.MonkeyPatch, files: bytes) -> None:
    calls = answering(monkeypatch, RemoteResult(0, files, ""))
    found = read_credentials(PLANE)
    ((argv, stdin),) = calls
    assert stdin == b"hunter2\n"
    assert "hunter2" not in " ".join(argv)
    assert (found.host, found.port) == ("127.0.0.1", 2379)
    assert "PRIVATE" not in repr(found)
    assert found.key.startswith("-----BEGIN PRIVATE KEY")
    assert found.ca != found.certificate
    assert found.ssl_context().check_hostname


def test_without_etcd_or_sudo(monkeypatch: pytest.MonkeyPatch, files: bytes) -> None:
    answering(monkeypatch, RemoteResult(1, b"", "cat: x: No such file or directory"))
    with pytest.raises(ClusterError, match="cp2 has no etcd of its own"):
        read_credentials(PLANE)
    answering(monkeypatch, RemoteResult(1, b"", "sudo: a password is required"))
    with pytest.raises(HostConnectionError, match="sudo was refused"):
        read_credentials(PLANE)
    answering(monkeypatch, RemoteResult(0, files.partition(b"-----BEGIN PRIVATE KEY")[0], ""))
    with pytest.raises(ClusterError, match="does not hold") as caught:
        read_credentials(PLANE)
    assert "CERTIFICATE" not in str(caught.value)
