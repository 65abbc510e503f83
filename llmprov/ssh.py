"""The only way from the controller to a host: OpenSSH, with the user's own keys, agent, bastions and known hosts.

Host keys are always checked, and nothing here ever asks a question: what OpenSSH would ask about is an error with a
remedy.
"""

import os
import select
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from llmprov.errors import HostConnectionError

CONNECT_TIMEOUT = 10
"""Seconds OpenSSH may take to reach a host, per attempt."""
READY_TIMEOUT = 30.0
"""Seconds until a tunnel must carry traffic: reaching the host, logging in and listening."""
_SSH_FAILED = 255
_PORT_ATTEMPTS = 5
_READY = b"llmprov-tunnel-ready"


@dataclass(frozen=True, slots=True)
class SshTarget:
    """How to log in to one host.

    `common_args` are OpenSSH arguments as Ansible's `ansible_ssh_common_args` gives them, already split:
    `("-F", "ssh.cfg")`. Zero or empty values leave the choice to the user's ssh configuration.
    """

    host: str
    port: int = 0
    user: str = ""
    identity_file: str = ""
    common_args: tuple[str, ...] = ()

    def argv(self, *options: str, defaults: Sequence[str] = ()) -> list[str]:
        """Return `ssh OPTIONS … HOST`; a remote command is appended by the caller.

        Args:
            options: they win over `common_args`.
            defaults: options over which `common_args` win.
        """
        command = ["ssh", *_STRICT, *options, *self.common_args, *defaults]
        command += ["-p", str(self.port)] if self.port else []
        command += ["-l", self.user] if self.user else []
        command += ["-i", self.identity_file] if self.identity_file else []
        return [*command, "--", self.host]


@dataclass(frozen=True, slots=True)
class RemoteResult:
    """What a remote command left: its exit status and its two streams."""

    returncode: int
    stdout: bytes
    stderr: str


# OpenSSH takes the first value it is given for an option, so these win over common_args and configuration files.
_STRICT = (
    *("-o", "BatchMode=yes"),
    *("-o", "StrictHostKeyChecking=yes"),
    *("-o", f"ConnectTimeout={CONNECT_TIMEOUT}"),
    *("-o", "ServerAliveInterval=10"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "LogLevel=ERROR"),
)
# A tunnel owns its connection: a shared master would keep the forwarding after the tunnel is closed.
# The local command runs once the port listens, which makes readiness an event instead of a guess.
# On the host runs a command that ends with its input, which ends when this process does, killed or not: no tunnel
# outlives its owner.
_TUNNEL = (
    "-T",
    *("-o", "ExitOnForwardFailure=yes"),
    *("-o", "ControlMaster=no"),
    *("-o", "ControlPath=none"),
    *("-o", "PermitLocalCommand=yes"),
    *("-o", f"LocalCommand=echo {_READY.decode()}"),
)
_UNTIL_INPUT_ENDS = "cat"
# Gigabytes go through a tunnel. AES-GCM first, as in OpenSSH 10, costs both ends a third less than ChaCha20; otherwise
# these are the ciphers that OpenSSH offers by itself.
_CIPHERS = (
    "-o",
    "Ciphers=aes256-gcm@openssh.com,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr",
)


def run(target: SshTarget, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> RemoteResult:
    """Run one command on the host and return what it said, whatever its exit status.

    Args:
        target: the host.
        argv: the command, quoted here for the remote shell. Never a place for secrets; `stdin` is.
        stdin: what the command reads.
        timeout: seconds until the connection is given up.

    Raises:
        HostConnectionError: the host cannot be reached, or refuses the login.
    """
    command = [*target.argv("-T"), shlex.join(argv)]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise HostConnectionError(
            f"{target.host}: `{argv[0]}` did not end within {timeout:.0f} s",
            remedy=f"look at the host: ssh {target.host}",
        ) from error
    except FileNotFoundError as error:
        raise _no_client() from error
    stderr = done.stderr.decode(errors="replace").strip()
    if done.returncode == _SSH_FAILED:
        raise classify(target, stderr)
    return RemoteResult(done.returncode, done.stdout, stderr)


def sudo(password: Callable[[], str] | None) -> tuple[list[str], bytes]:
    """Return what makes a command root's, and what it reads first: the password never is an argument.

    Args:
        password: what gives sudo's password; None where it needs none.
    """
    if password is None:
        return ["sudo", "-n"], b""
    return ["sudo", "-S", "-p", ""], password().encode() + b"\n"


@contextmanager
def tunnel(target: SshTarget, remote_host: str, remote_port: int) -> Iterator[int]:
    """Forward a free port of 127.0.0.1 to `remote_host:remote_port` as seen from the target, while the context is open.

    Yields:
        The local port; it accepts connections when the context is entered.

    Raises:
        HostConnectionError: the host cannot be reached, refuses the login or forbids forwarding.
    """
    process, log, port = _open(target, remote_host, remote_port)
    try:
        yield port
    finally:
        _end(process, log)


def classify(target: SshTarget, stderr: str) -> HostConnectionError:
    """Turn what OpenSSH printed into an error that names the host, the reason and the remedy."""
    where = f"{target.host} port {target.port}" if target.port else target.host
    for signs, reason, remedy in _FAILURES:
        if any(sign in stderr for sign in signs):
            return HostConnectionError(
                f"{where}: {reason}", remedy=remedy.format(host=target.host), details=_lines(stderr)
            )
    return HostConnectionError(
        f"{where}: SSH failed", remedy=f"try it by hand: ssh -v {target.host}", details=_lines(stderr)
    )


_FAILURES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("REMOTE HOST IDENTIFICATION HAS CHANGED",),
        "its host key is not the one in known_hosts",
        (
            "if the host was reinstalled, remove the old key with `ssh-keygen -R {host}` and accept the new one by "
            "logging in once; if it was not, somebody may be listening in"
        ),
    ),
    (
        ("Host key verification failed", "host key is known for"),
        "its host key is unknown",
        "compare and accept the key by logging in once: ssh {host}",
    ),
    (
        ("Permission denied", "Too many authentication failures"),
        "the login was refused",
        (
            "check the user and key in the inventory (ansible_user, ansible_ssh_private_key_file) and that "
            "`ssh {host}` works without a password"
        ),
    ),
    (
        ("administratively prohibited", "forwarding disabled"),
        "its SSH server forbids port forwarding",
        "set `AllowTcpForwarding local` (or yes) in the sshd_config of {host}; llmprov has no other way in",
    ),
    (
        ("Could not resolve hostname", "Name or service not known"),
        "its name does not resolve",
        "give the address in the inventory (ansible_host) or add {host} to DNS",
    ),
    (
        (
            *("Connection refused", "No route to host", "Network is unreachable", "timed out"),
            *("Connection closed by", "Connection reset by", "not responding", "proxy dialer did not pass back"),
        ),
        "unreachable over SSH",
        "check that the host is up and that its address and port in the inventory are right: ssh {host}",
    ),
)


def _open(target: SshTarget, remote_host: str, remote_port: int) -> tuple[subprocess.Popen[bytes], IO[bytes], int]:
    stderr = ""
    for _attempt in range(_PORT_ATTEMPTS):
        port = _free_port()
        forward = f"127.0.0.1:{port}:{_bracketed(remote_host)}:{remote_port}"
        log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the tunnel; a pipe nobody reads could fill
        try:
            process = subprocess.Popen(
                [*target.argv(*_TUNNEL, "-L", forward, defaults=_CIPHERS), _UNTIL_INPUT_ENDS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C ends the work first and the tunnel after it
            )
        except FileNotFoundError as error:
            raise _no_client() from error
        try:
            ready = _wait_ready(process)
        except BaseException:  # Ctrl-C does not reach it, and nobody else knows of it yet
            _end(process, log)
            raise
        if ready:
            return process, log, port
        stderr = _end(process, log)
        if "cannot listen to port" not in stderr and "Address already in use" not in stderr:
            break
    raise classify(target, stderr or f"timed out: no tunnel after {READY_TIMEOUT:.0f} s")


def _wait_ready(process: subprocess.Popen[bytes]) -> bool:
    stream = process.stdout
    assert stream is not None  # noqa: S101 - Popen was given PIPE
    deadline = time.monotonic() + READY_TIMEOUT
    seen = b""
    while _READY not in seen:
        ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(stream.fileno(), 4096) if ready else b""
        if not chunk:
            return False
        seen += chunk
    return True


def _end(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    with log:
        log.seek(0)
        return log.read().decode(errors="replace").strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _environment() -> dict[str, str]:
    # OpenSSH's messages are classified, so they have to be in English.
    return {**os.environ, "LC_ALL": "C"}


def _lines(stderr: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in stderr.splitlines() if line.strip(" @\t\r"))


def _no_client() -> HostConnectionError:
    return HostConnectionError(
        "there is no `ssh` on this controller", remedy="install OpenSSH: apt install openssh-client"
    )
