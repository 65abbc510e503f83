import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmprov import ssh
from llmprov.errors import HostConnectionError
from llmprov.lab.tools import wait_until
from llmprov.ssh import SshTarget, classify, run, tunnel
from tests.unit.ssh.fakessh import FakeSsh, install

TARGET = SshTarget("gpu1", port=2222, user="ops", identity_file="key", common_args=("-F", "ssh.cfg"))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    return install(tmp_path / "bin", monkeypatch, path=os.environ["PATH"])


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(connection.recv(100))

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.mark.parametrize(
    ("stderr", "reason", "remedy"),
    [
        (
            "@@@\nWARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.",
            "not the one",
            "keygen -R",
        ),
        ("No ED25519 host key is known for gpu1 and you have requested strict checking.", "unknown", "logging in once"),
        ("ops@gpu1: Permission denied (publickey).", "login was refused", "ansible_user"),
        ("ssh: connect to host gpu1 port 22: Connection refused", "unreachable", "is up"),
        ("ssh: connect to host gpu1 port 22: No route to host", "unreachable", "is up"),
        ("Connection timed out during banner exchange", "unreachable", "is up"),
        ("ssh: Could not resolve hostname gpu1: Name or service not known", "does not resolve", "ansible_host"),
        ("channel 0: open failed: administratively prohibited: open failed", "forbids", "AllowTcpForwarding"),
        ("something new", "SSH failed", "ssh -v"),
    ],
)
def test_every_failure_says_what_to_do(stderr: str, reason: str, remedy: str) -> None:
    error = classify(TARGET, stderr)
    assert reason in error.message
    assert "gpu1 port 2222" in error.message
    assert remedy in error.remedy
    assert not any(line.startswith("@") for line in error.details)


def test_our_options_come_before_those_of_the_inventory() -> None:
    argv = SshTarget("h", common_args=("-o", "StrictHostKeyChecking=no")).argv()
    assert argv.index("StrictHostKeyChecking=yes") < argv.index("StrictHostKeyChecking=no")
    assert argv[-2:] == ["--", "h"]


def test_defaults_come_after_those_of_the_inventory() -> None:
    argv = SshTarget("h", common_args=("-o", "Ciphers=aes128-ctr")).argv(defaults=("-o", "Ciphers=aes256-ctr"))
    assert argv.index("Ciphers=aes128-ctr") < argv.index("Ciphers=aes256-ctr") < argv.index("--")


def test_run_quotes_and_passes_stdin(fake: FakeSsh) -> None:
    result = run(TARGET, ["sh", "-c", 'echo "$1"; cat; echo oops >&2; exit 3', "sh", "a $HOME 'b'"], stdin=b"secret")
    assert (result.returncode, result.stdout, result.stderr) == (3, b"a $HOME 'b'\nsecret", "oops")
    assert fake.calls == ["-Fssh.cfg -T -ikey -lops -p2222 gpu1"]


def test_run_that_cannot_connect(fake: FakeSsh) -> None:
    fake.fail_with("ssh: connect to host gpu1 port 22: No route to host")
    with pytest.raises(HostConnectionError, match="unreachable"):
        run(TARGET, ["true"])


@pytest.mark.usefixtures("fake")
def test_run_that_does_not_end() -> None:
    with pytest.raises(HostConnectionError, match="did not end within"):
        run(TARGET, ["sleep", "10"], timeout=0.3)


def test_no_ssh_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostConnectionError, match="no `ssh`"):
        run(TARGET, ["true"])
    with pytest.raises(HostConnectionError, match="no `ssh`"), tunnel(TARGET, "127.0.0.1", 1):
        pass


@pytest.mark.usefixtures("fake")
def test_a_tunnel_carries_traffic_while_it_is_open(echo: int) -> None:
    with tunnel(TARGET, "127.0.0.1", echo) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"ping")
        assert connection.recv(100) == b"ping"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.usefixtures("fake")
def test_a_tunnel_ends_with_its_owner_even_when_that_is_killed(echo: int) -> None:
    code = f"""
import signal
from llmprov.ssh import SshTarget, tunnel
with tunnel(SshTarget("gpu1"), "127.0.0.1", {echo}) as port:
    print(port, flush=True)
    signal.pause()
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    port = int(owner.stdout.readline())
    socket.create_connection(("127.0.0.1", port)).close()
    owner.kill()
    owner.wait()
    owner.stdout.close()

    def closed() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    assert wait_until(closed, 10)


def test_a_tunnel_that_cannot_be_opened(fake: FakeSsh) -> None:
    fake.fail_with("Host key verification failed.")
    with pytest.raises(HostConnectionError, match="host key"), tunnel(TARGET, "127.0.0.1", 1):
        pytest.fail("the tunnel was open")


def test_a_local_port_that_was_taken_is_tried_again(fake: FakeSsh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_PORT_ATTEMPTS", 2)
    fake.fail_with("bind [127.0.0.1]:1234: Address already in use\ncannot listen to port: 1234")
    with pytest.raises(HostConnectionError), tunnel(TARGET, "127.0.0.1", 1):
        pytest.fail("the tunnel was open")
    assert len(fake.calls) == 2


def test_ipv6_addresses_are_bracketed() -> None:
    assert ssh._bracketed("fd00::1") == "[fd00::1]"
    assert ssh._bracketed("10.0.0.1") == "10.0.0.1"


def test_ctrl_c_while_a_tunnel_opens_leaves_no_ssh(fake: FakeSsh, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fake
    opened: list[subprocess.Popen[bytes]] = []

    def interrupted(process: subprocess.Popen[bytes]) -> bool:
        opened.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(ssh, "_wait_ready", interrupted)
    with pytest.raises(KeyboardInterrupt), tunnel(TARGET, "127.0.0.1", 1):
        pass
    assert opened[0].returncode is not None
