"""A stand-in for the `ssh` program: runs commands and forwards ports on this machine, or fails as it is told to.

What it takes apart is the command line that llmprov writes, so a wrong option is an error here too. Real OpenSSH is
used where an SSH server is installed (test_openssh.py) and by every test on lab hosts.
"""

import sys
from pathlib import Path

import pytest

_SCRIPT = """#!{python}
import os, re, select, socket, subprocess, sys, threading

options, arguments, forward = {{}}, sys.argv[1:], ""
flags = set()
while arguments and arguments[0] != "--":
    word = arguments.pop(0)
    if word == "-o":
        key, _, value = arguments.pop(0).partition("=")
        options.setdefault(key, value)
    elif word == "-L":
        forward = arguments.pop(0)
    elif word in ("-p", "-l", "-i", "-F"):
        flags.add(word + arguments.pop(0))
    elif word == "-T":
        flags.add(word)
    else:
        sys.exit("fakessh: unknown option " + word)
_, host, *command = arguments
assert options["StrictHostKeyChecking"] == "yes" and options["BatchMode"] == "yes"
open({log!r}, "a").write(" ".join(sorted(flags)) + " " + host + "\\n")
failure = open({failure!r}).read()
if failure:
    sys.stderr.write(failure)
    sys.exit(255)
if not forward:
    sys.exit(subprocess.run(["sh", "-c", " ".join(command)]).returncode)
assert options["ExitOnForwardFailure"] == "yes"
local, port, remote, remote_port = re.fullmatch(r"(\\S+):(\\d+):(\\S+):(\\d+)", forward).groups()
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((local, int(port)))
server.listen()
print(subprocess.run(options["LocalCommand"], shell=True, capture_output=True, text=True).stdout, flush=True)


def carry(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def end():
    os._exit(subprocess.run(["sh", "-c", " ".join(command)]).returncode)


threading.Thread(target=end, daemon=True).start()
while True:
    near, _ = server.accept()
    far = socket.create_connection((remote if remote != "kubernetes" else "127.0.0.1", int(remote_port)))
    for pair in ((near, far), (far, near)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""


class FakeSsh:
    """The program, and what it was asked."""

    def __init__(self, directory: Path) -> None:
        self._failure = directory / "failure"
        self._log = directory / "log"
        self._log.touch()
        self.fail_with("")
        program = directory / "ssh"
        program.write_text(_SCRIPT.format(python=sys.executable, log=str(self._log), failure=str(self._failure)))
        program.chmod(0o755)

    def fail_with(self, stderr: str) -> None:
        """Make it exit with 255 after printing this; nothing makes it work again."""
        self._failure.write_text(stderr)

    @property
    def calls(self) -> list[str]:
        """Its flags and host, one line a call."""
        return self._log.read_text().splitlines()


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, *, path: str) -> FakeSsh:
    """Put it first on PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    fake = FakeSsh(directory)
    monkeypatch.setenv("PATH", f"{directory}:{path}")
    return fake
