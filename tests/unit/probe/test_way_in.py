"""How a probe gets to a host: over SSH, through sudo, to a Python; and what is said of a host where it does not."""

import os
import sys
from pathlib import Path

import pytest

from llmprov.host_state import Unprobed
from llmprov.inventory import Inventory
from llmprov.progress import NullProgress
from llmprov.report.tracker import Node, TrackingProgress
from llmprov.workflows.probe import probe_hosts
from tests.unit.probe.conftest import InventoryOf, Tree, program
from tests.unit.ssh.fakessh import FakeSsh, install

# Reads like sudo does: no byte beyond the password's line.
_SUDO = """#!{python}
import os, sys
arguments, asks, wanted = sys.argv[1:], {asks}, {password!r}
open({log!r}, "a").write(" ".join(arguments) + "\\n")
if "-n" in arguments and asks:
    sys.exit("sudo: a password is required")
if "-S" in arguments and asks:
    given = b""
    while (byte := os.read(0, 1)) not in (b"", b"\\n"):
        given += byte
    if given.decode() != wanted:
        sys.exit("sudo: 1 incorrect password attempt")
first = next(place for place, word in enumerate(arguments) if word.startswith("/") or word == "python3")
os.execvp(arguments[first], arguments[first:])
"""


class Sudo:
    """The stand-in for sudo, for a user that is not root, whoever runs the tests."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.log = programs / "sudo.log"
        program(programs, "id", "#!/bin/sh\necho 1000\n")
        self.behave()

    def behave(self, *, asks: bool = False, password: str = "") -> None:
        """Set whether it asks for a password, and for which."""
        text = _SUDO.format(python=sys.executable, asks=asks, password=password, log=str(self.log))
        program(self._programs, "sudo", text)


@pytest.fixture
def ssh(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    return install(tmp_path / "bin", monkeypatch, path=f"{programs}:{os.environ['PATH']}")


@pytest.fixture
def sudo(programs: Path) -> Sudo:
    return Sudo(programs)


def unprobed(inventory: Inventory, tree: Tree) -> Unprobed:
    found, [refused] = probe_hosts(inventory, NullProgress(), hosts=["gpu1"], root=str(tree.root))
    assert found == ()
    return refused


def assert_probed(inventory: Inventory, tree: Tree) -> None:
    found, refused = probe_hosts(inventory, NullProgress(), root=str(tree.root))
    assert refused == ()
    assert [list(item.records) for item in found] == [["base"], ["base"]]


def test_over_ssh_without_sudo_where_root_logs_in(
    inventory_of: InventoryOf, tree: Tree, ssh: FakeSsh, programs: Path
) -> None:
    program(programs, "id", "#!/bin/sh\necho 0\n")
    program(programs, "sudo", "#!/bin/sh\necho sudo: not here >&2; exit 127\n")
    tree.record("base")
    assert_probed(inventory_of(), tree)
    assert sorted(call.split()[-1] for call in ssh.calls) == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.usefixtures("ssh")
def test_with_passwordless_sudo(inventory_of: InventoryOf, tree: Tree, sudo: Sudo) -> None:
    tree.record("base")
    assert_probed(inventory_of(), tree)
    assert sudo.log.read_text().startswith("-n python3 ")


@pytest.mark.usefixtures("ssh")
@pytest.mark.parametrize("asks", [True, False], ids=["asked for", "given for nothing"])
def test_with_a_password_that_no_argument_shows(
    inventory_of: InventoryOf, tree: Tree, sudo: Sudo, *, asks: bool
) -> None:
    sudo.behave(asks=asks, password='{"pässword"}')
    tree.record("base")
    assert_probed(inventory_of(ansible_become_password='{"pässword"}'), tree)
    assert sudo.log.read_text().startswith("-S -p ")
    assert "pässword" not in sudo.log.read_text()


@pytest.mark.usefixtures("ssh")
def test_sudo_refuses(inventory_of: InventoryOf, tree: Tree, sudo: Sudo) -> None:
    sudo.behave(asks=True, password="right")
    refused = unprobed(inventory_of(), tree)
    assert refused.problem == "sudo asks for a password, and the inventory gives none"
    assert "ansible_become_password" in refused.remedy
    wrong = unprobed(inventory_of(ansible_become_password="wrong"), tree)
    assert wrong.problem == "sudo was refused: sudo: 1 incorrect password attempt"
    assert wrong.host == "gpu1"


def test_a_host_that_is_down(inventory_of: InventoryOf, tree: Tree, ssh: FakeSsh) -> None:
    ssh.fail_with("ssh: connect to host 192.0.2.2 port 22: Connection refused")
    refused = unprobed(inventory_of(), tree)
    assert refused.problem == "192.0.2.2: unreachable over SSH"
    assert "host is up" in refused.remedy


@pytest.mark.parametrize(
    ("interpreter", "problem"),
    [
        ("/nonexistent/python3", "there is no /nonexistent/python3"),
        ("/bin/true", "its answer makes no sense"),
        ("/bin/false", "the probe failed: exit status 1"),
    ],
)
def test_a_python_that_is_none(inventory_of: InventoryOf, tree: Tree, interpreter: str, problem: str) -> None:
    variables = {"ansible_connection": "local", "ansible_become": False}
    refused = unprobed(inventory_of(**variables, ansible_python_interpreter=interpreter), tree)
    assert refused.problem.startswith(problem)
    assert refused.remedy


def test_other_ways_to_name_a_python_are_left_to_ansible(inventory_of: InventoryOf, tree: Tree) -> None:
    tree.record("base")
    variables = {"ansible_connection": "local", "ansible_become": False}
    assert_probed(inventory_of(**variables, ansible_python_interpreter="auto_silent"), tree)


def test_a_probe_that_fails_says_why(inventory: Inventory, tree: Tree, programs: Path) -> None:
    program(programs, "systemctl", "#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n")
    tree.record("runtime", units=["containerd.service"])
    refused = unprobed(inventory, tree)
    assert refused.problem == "the probe failed: RuntimeError: systemctl failed: Failed to connect to bus"


def test_a_greeting_is_no_answer(inventory_of: InventoryOf, tree: Tree, programs: Path) -> None:
    program(programs, "greeting", f'#!/bin/sh\necho Welcome; exec {sys.executable} "$@"\n')
    tree.record("base")
    variables = {"ansible_connection": "local", "ansible_become": False}
    assert_probed(inventory_of(**variables, ansible_python_interpreter=str(programs / "greeting")), tree)


def test_a_host_that_is_down_does_not_keep_others(inventory_of: InventoryOf, tree: Tree, ssh: FakeSsh) -> None:
    inventory = inventory_of()
    local = {"ansible_connection": "local", "ansible_become": False}
    hosts = tuple(
        host.model_copy(update={"variables": {**host.variables, **local}}) if host.name == "cp1" else host
        for host in inventory.hosts
    )
    ssh.fail_with("Permission denied (publickey).")
    progress = _Progress()
    changed = inventory.model_copy(update={"hosts": hosts})
    found, refused = probe_hosts(changed, progress, root=str(tree.root))
    assert [item.host for item in found] == ["cp1"]
    assert [(item.host, item.problem) for item in refused] == [("gpu1", "192.0.2.2: the login was refused")]
    assert progress.ended == [("probe", 2, 2)]


class _Progress(TrackingProgress):
    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[str, int | None, int | None]] = []

    def on_end(self, node: Node) -> None:
        self.ended.append((node.name, node.done, node.total))
