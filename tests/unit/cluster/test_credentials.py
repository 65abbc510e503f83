import base64
import ssl
import subprocess
from pathlib import Path

import pytest

from llmprov import ssh
from llmprov.cluster import session
from llmprov.cluster.credentials import ControlPlane, Credentials, parse_kubeconfig, read_credentials
from llmprov.cluster.problems import classify
from llmprov.errors import ClusterError, HostConnectionError
from llmprov.ssh import RemoteResult, SshTarget

PLANE = ControlPlane("cp1", SshTarget("cp1"), sudo_password=lambda: "hunter2")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A self-signed certificate and its key."""
    directory = tmp_path_factory.mktemp("pair")
    key, crt = directory / "k", directory / "c"
    options = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=t")
    subprocess.run(["openssl", "req", "-x509", *options, "-keyout", key, "-out", crt], check=True, capture_output=True)
    return crt.read_text(), key.read_text()


def kubeconfig(certificate: str, key: str) -> bytes:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    return f"""
clusters: [{{cluster: {{server: "https://10.0.0.1:6443", certificate-authority-data: {encoded(certificate)}}}}}]
users: [{{user: {{client-certificate-data: {encoded(certificate)}, client-key-data: {encoded(key)}}}}}]
""".encode()


def test_a_kubeconfig_of_kubeadm(pair: tuple[str, str]) -> None:
    found = parse_kubeconfig(kubeconfig(*pair), where="x")
    assert (found.host, found.port) == ("10.0.0.1", 6443)
    assert "PRIVATE" not in repr(found)
    context = found.ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("text", [b"", b"{", b"clusters: []\nusers: []", b"clusters: [{cluster: {server: s3cret}}]"])
def test_what_is_no_kubeconfig_is_not_quoted(text: bytes) -> None:
    with pytest.raises(ClusterError, match="not a kubeconfig") as caught:
        parse_kubeconfig(text, where="cp1:/etc/kubernetes/admin.conf")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def answering(monkeypatch: pytest.MonkeyPatch, result: RemoteResult) -> list[tuple[list[str], bytes]]:
    calls: list[tuple[list[str], bytes]] = []

    def run(_target: SshTarget, argv: list[str], *, stdin: bytes = b"") -> RemoteResult:
        calls.append((argv, stdin))
        return result

    monkeypatch.setattr(ssh, "run", run)
    return calls


def test_the_sudo_password_goes_through_stdin(monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str]) -> None:
    calls = answering(monkeypatch, RemoteResult(0, kubeconfig(*pair), ""))
    read_credentials(PLANE)
    ((argv, stdin),) = calls
    assert stdin == b"hunter2\n"
    assert "hunter2" not in " ".join(argv)
    assert "hunter2" not in repr(PLANE)


def test_no_cluster_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, RemoteResult(1, b"", "cat: /etc/kubernetes/admin.conf: No such file or directory"))
    with pytest.raises(ClusterError, match="no control plane yet"):
        read_credentials(PLANE)


def test_sudo_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, RemoteResult(1, b"", "sudo: a password is required"))
    with pytest.raises(HostConnectionError, match="sudo was refused"):
        read_credentials(ControlPlane("cp1", SshTarget("cp1")))


def test_the_next_control_plane_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Credentials("h", 1, "", "", "")

    def read(plane: ControlPlane) -> Credentials:
        if plane.name != "cp3":
            raise HostConnectionError(f"{plane.name}: unreachable over SSH")
        return good

    monkeypatch.setattr(session, "read_credentials", read)
    planes = [ControlPlane(name, SshTarget(name)) for name in ("cp1", "cp2", "cp3")]
    assert session._first_credentials(planes) is good
    with pytest.raises(HostConnectionError, match="no control plane") as caught:
        session._first_credentials(planes[:2])
    assert caught.value.details == ("cp1: unreachable over SSH", "cp2: unreachable over SSH")
    with pytest.raises(HostConnectionError, match="cp1"):
        session._first_credentials(planes[:1])


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", "", None])
def test_an_answer_that_is_not_the_apis_own(body: bytes | str | None) -> None:
    error = classify(502, body, "get Node a")
    assert "get Node a" in error.message
    assert error.remedy


def test_nothing_private_is_left_behind(tmp_path: Path, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    parse_kubeconfig(kubeconfig(*pair), where="x").ssl_context()
    assert list(tmp_path.iterdir()) == []
