"""The machine's kernel settings: noted by the first host, raised where needed, written back after the last."""

import os
from pathlib import Path

import pytest

from llmprov.lab import machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted extended attributes need root")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    values = {"fs/inotify/max_user_instances": "128", "fs/inotify/max_user_watches": "900000", "kernel/panic": "0"}
    for name, value in values.items():
        (tmp_path / "proc" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc" / name).write_text(value + "\n")
    return tmp_path / "proc"


def test_settings_come_back_after_the_last_host(proc: Path, tmp_path: Path) -> None:
    group = tmp_path / "llmprov-lab"
    machine.remember(group, proc)
    assert (proc / "fs/inotify/max_user_instances").read_text() == "8192\n"
    assert (proc / "fs/inotify/max_user_watches").read_text() == "900000\n"
    (proc / "kernel/panic").write_text("10\n")
    machine.remember(group, proc)
    settings = machine.remembered(group)
    group.rmdir()
    machine.restore(settings, proc)
    assert (proc / "fs/inotify/max_user_instances").read_text() == "128\n"
    assert (proc / "kernel/panic").read_text() == "0\n"


def test_a_group_that_nobody_noted_in_restores_nothing(tmp_path: Path) -> None:
    assert machine.remembered(tmp_path / "none") == {}
    (tmp_path / "group").mkdir()
    assert machine.remembered(tmp_path / "group") == {}
