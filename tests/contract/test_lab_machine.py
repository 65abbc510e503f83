"""What hosts change on the machine itself is as before when the last one has gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="lab hosts need root")]


def _settings() -> dict[str, str]:
    readable = [
        file
        for directory in ("fs", "kernel", "vm")
        for file in Path("/proc/sys", directory).glob("**/*")
        if file.is_file() and os.access(file, os.R_OK) and file.stat().st_mode & 0o222
    ]
    return {
        str(file): file.read_text()
        for file in readable
        if "random" not in file.parts and "ns_last_pid" not in file.name
    }


def test_kernel_settings_are_as_before(tmp_path: Path) -> None:
    if list(Path("/sys/fs/cgroup").glob("**/llmprov-lab")):
        pytest.skip("another lab is running; settings come back when the last one goes")
    environment = {**os.environ, "LLMPROV_STATE_DIR": str(tmp_path / "state"), "LLMPROV_PROGRESS": "silent"}
    llmprov = [sys.executable, "-m", "llmprov", "lab"]
    ssh = ["ssh", "-F", str(tmp_path / "inventory" / "ssh.cfg"), "cp1"]
    before = _settings()
    up = [*llmprov, "up", "--name", "settings", "--hosts", "1", "--inventory", str(tmp_path / "inventory")]
    try:
        subprocess.run(up, env=environment, check=True, timeout=300)
        subprocess.run([*ssh, "sudo sysctl -w kernel.panic=17 vm.panic_on_oom=1"], check=True, timeout=60)
        assert _settings() != before
    finally:
        subprocess.run([*llmprov, "destroy", "--name", "settings"], env=environment, check=True, timeout=120)
    assert _settings() == before
