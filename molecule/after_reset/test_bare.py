"""After a reset a host is what it was before the first installation."""

import subprocess
from pathlib import Path

import pytest
from conftest import EPHEMERAL, NAMES

SNAPSHOT = Path(__file__).parent.parent / "snapshot.sh"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left(name: str) -> None:
    before = set((EPHEMERAL / f"{name}.bare").read_text(encoding="utf-8").split("\n"))
    command = ["ssh", "-F", str(EPHEMERAL / "lab" / "ssh.cfg"), name, "sudo sh -s"]
    done = subprocess.run(
        command, input=SNAPSHOT.read_text(encoding="utf-8"), capture_output=True, text=True, check=True
    )
    after = set(done.stdout.split("\n"))
    assert sorted(after - before) == []
    assert sorted(before - after) == []
