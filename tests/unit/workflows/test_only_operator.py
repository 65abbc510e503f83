"""The lock of an inventory's first control plane, through ssh and sudo as they are called."""

import os
from functools import partial
from pathlib import Path

import pytest

from llmprov import inventory as inventories
from llmprov.errors import BusyError, HostConnectionError
from llmprov.inventory import Inventory
from llmprov.progress import NullProgress
from llmprov.workflows import lock as module
from llmprov.workflows.host_lock import HostLock
from llmprov.workflows.lock import only_operator
from tests.unit.ssh.fakessh import FakeSsh, install

SUDO = """#!/bin/sh
# Asks for the password that the inventory gives.
[ "$1 $2 $3" = "-S -p " ] && shift 3 && read -r password && [ "$password" = open ] && exec "$@"
echo "sudo: a password is required" >&2
exit 1
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    """An ssh to this machine, with a sudo that asks; the lock is not in this machine's /run."""
    fake = install(tmp_path / "bin", monkeypatch, path=os.environ["PATH"])
    sudo = tmp_path / "bin" / "sudo"
    sudo.write_text(SUDO)
    sudo.chmod(0o755)
    monkeypatch.setattr(module, "HostLock", partial(HostLock, directory=str(tmp_path / "operator")))
    return fake


def _load(path: Path, password: str) -> Inventory:
    (path / "group_vars").mkdir()
    (path / "group_vars" / "all.yml").write_text(f"ansible_become_password: {password}\n", encoding="utf-8")
    return inventories.load(path)


@pytest.mark.usefixtures("ssh")
def test_one_operator_at_a_time(inventory: Path, tmp_path: Path) -> None:
    cluster = _load(inventory, "open")
    with only_operator(cluster, "install", "run-1", NullProgress()) as operator:
        assert (tmp_path / "operator" / "lock.json").is_file()
        with (
            pytest.raises(BusyError, match="install since") as caught,
            only_operator(cluster, "reset", "run-2", NullProgress()),
        ):
            pass
        assert caught.value.details[0].startswith("run run-1, process ")
        operator.check()
    assert not (tmp_path / "operator").exists()
    with only_operator(cluster, "reset", "run-2", NullProgress()):
        pass


@pytest.mark.usefixtures("ssh")
def test_a_wrong_password_is_the_connections_error(inventory: Path) -> None:
    cluster = _load(inventory, "wrong")
    with (
        pytest.raises(HostConnectionError, match=r"cp1: the lock .* as root") as caught,
        only_operator(cluster, "install", "run-1", NullProgress()),
    ):
        pass
    assert caught.value.details == ("sudo: a password is required",)


def test_an_unreachable_host_is_the_connections_error(inventory: Path, ssh: FakeSsh) -> None:
    cluster = _load(inventory, "open")
    ssh.fail_with("ssh: connect to host 192.0.2.1 port 22: Connection refused")
    with (
        pytest.raises(HostConnectionError, match="unreachable over SSH"),
        only_operator(cluster, "install", "run-1", NullProgress()),
    ):
        pass
