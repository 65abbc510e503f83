"""The device plugin for simulated GPUs passes its own tests, against sockets and the kubelet's real protocol."""

import shutil
import subprocess

import pytest

from llmprov.paths import content_root

SOURCE = content_root() / "images" / "gpu-simulator"


@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
def test_gpu_simulator() -> None:
    done = subprocess.run(["go", "test", "./..."], cwd=SOURCE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
