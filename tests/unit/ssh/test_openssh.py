"""The same against real OpenSSH: its server speaks through a ProxyCommand, so nothing listens on the network."""

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from llmprov.errors import HostConnectionError
from llmprov.ssh import SshTarget, run, tunnel

SSHD = shutil.which("sshd", path=f"/usr/sbin:/usr/lib/openssh:{os.environ.get('PATH', '')}")
pytestmark = pytest.mark.skipif(SSHD is None, reason="no OpenSSH server on this machine")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    shutil.copy(directory / "user.pub", directory / "authorized")
    (directory / "known").write_text(f"box {(directory / 'host.pub').read_text()}")
    settings = {
        "HostKey": directory / "host",
        "AuthorizedKeysFile": directory / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    (directory / "config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    return directory


@pytest.fixture
def box(home: Path) -> SshTarget:
    if subprocess.run([str(SSHD), "-t", "-f", home / "config"], capture_output=True, check=False).returncode:
        pytest.skip("the OpenSSH server does not start here")
    return target(home)


def target(home: Path, known: str = "known", identity: str = "user") -> SshTarget:
    options = ("-o", f"UserKnownHostsFile={home / known}", "-o", "GlobalKnownHostsFile=/dev/null")
    proxy = ("-o", f"ProxyCommand={SSHD} -i -f {home}/config", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none")
    return SshTarget(
        "box", user=getpass.getuser(), identity_file=str(home / identity), common_args=("-F", "none", *options, *proxy)
    )


def test_run(box: SshTarget) -> None:
    result = run(box, ["echo", "a $HOME 'b'"])
    assert (result.returncode, result.stdout) == (0, b"a $HOME 'b'\n")


def test_tunnel(box: SshTarget) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server, tunnel(box, "127.0.0.1", server.getsockname()[1]) as port:
        near = socket.create_connection(("127.0.0.1", port))
        with near, server.accept()[0] as far:
            far.sendall(b"hello")
            assert near.recv(10) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.usefixtures("box")
def test_an_unknown_host_key_is_refused(home: Path) -> None:
    (home / "empty").touch()
    with pytest.raises(HostConnectionError, match="host key is unknown"):
        run(target(home, known="empty"), ["true"])


@pytest.mark.usefixtures("box")
def test_a_changed_host_key_is_refused(home: Path) -> None:
    (home / "other").write_text(f"box {(home / 'user.pub').read_text()}")
    with pytest.raises(HostConnectionError, match="not the one in known_hosts"):
        run(target(home, known="other"), ["true"])


@pytest.mark.usefixtures("box")
def test_a_refused_key(home: Path) -> None:
    with pytest.raises(HostConnectionError, match="login was refused"), tunnel(target(home, identity="host"), "h", 1):
        pytest.fail("the tunnel was open")
