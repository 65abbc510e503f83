"""Roles nvidia_driver and nvidia_container_toolkit with simulated GPUs: CDI devices that containers really get."""

import json
import os
import time
from pathlib import Path
from threading import Event

import pytest
import testinfra
from testinfra.host import Host

from llmprov.bundle.lock import BundleLock
from llmprov.paths import cache_dir

LOCK = BundleLock.load(cache_dir() / "bundle")
CTR = "/usr/local/bin/ctr --namespace k8s.io"
SPEC = "/run/cdi/nvidia.json"
SECONDS = 10


@pytest.fixture(scope="module", params=["gpu1", "gpu2"])
def worker(request: pytest.FixtureRequest) -> Host:
    """Every GPU worker, one after the other."""
    ssh_config = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "lab" / "ssh.cfg"
    return testinfra.get_host(f"ssh://{request.param}", ssh_config=str(ssh_config), sudo=True)


def test_nvidia_ctk_runs_on_this_release(worker: Host) -> None:
    assert LOCK.file("nvidia-ctk").version in worker.check_output("/usr/local/bin/nvidia-ctk --version")
    assert worker.run("/usr/local/bin/nvidia-cdi-hook --version").rc == 0


def test_every_simulated_gpu_is_a_cdi_device(worker: Host) -> None:
    listed = worker.check_output("/usr/local/bin/nvidia-ctk --quiet cdi list").split()
    assert listed == ["nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=all"]
    # nvidia-ctk is content with more than the device plugin, which reads nothing but JSON.
    assert json.loads(worker.file(SPEC).content_string)["kind"] == "nvidia.com/gpu"


def test_a_container_gets_what_the_device_brings(worker: Host) -> None:
    pause = LOCK.image("pause")
    worker.check_output(f"{CTR} images pull --hosts-dir /etc/containerd/certs.d {pause.ref}")
    worker.check_output(f"{CTR} run --detach --device nvidia.com/gpu=1 {pause.ref} gpu-probe")
    try:
        spec = json.loads(worker.check_output(f"{CTR} containers info gpu-probe"))["Spec"]
        assert "LLMPROV_SIMULATED_GPU_1=1" in spec["process"]["env"]
        assert "LLMPROV_SIMULATED_GPU_0=0" not in spec["process"]["env"]
        assert "/run/llmprov/gpus/1" in [mount["destination"] for mount in spec["mounts"]]
    finally:
        worker.check_output(f"{CTR} tasks kill --signal SIGKILL gpu-probe")
        worker.check_output(f"{CTR} tasks delete gpu-probe")
        worker.check_output(f"{CTR} containers delete gpu-probe")


def test_the_spec_is_made_at_boot_and_when_its_source_changes(worker: Host) -> None:
    assert worker.service("llmprov-cdi.service").is_enabled
    assert worker.service("llmprov-cdi.path").is_running
    worker.check_output(f"rm {SPEC}")
    worker.check_output("touch /var/lib/llmprov/gpus/cdi.json")
    deadline = time.monotonic() + SECONDS
    while not worker.file(SPEC).exists:
        assert time.monotonic() < deadline, worker.check_output("systemctl status llmprov-cdi.path || true")
        Event().wait(0.2)


def test_other_drivers_are_kept_out(worker: Host) -> None:
    assert "blacklist nouveau" in worker.file("/etc/modprobe.d/50-llmprov-nvidia.conf").content_string
    policy = worker.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")
    assert '"^libnvidia-"' in policy
    # apt itself reads the pins: a record it does not understand is an error.
    assert worker.run("apt-cache policy nvidia-driver").rc == 0


def test_a_simulated_host_has_no_driver(worker: Host) -> None:
    assert not worker.file("/etc/modules-load.d/50-llmprov-nvidia.conf").exists
    record = json.loads(worker.file("/var/lib/llmprov/stages/nvidia_driver.json").content_string)
    assert record["stage"] == "nvidia_driver"
    assert (record["units"], record["packages"]) == ([], {})


def test_the_control_plane_has_nothing_of_it(cp1: Host) -> None:
    assert not cp1.file("/usr/local/bin/nvidia-ctk").exists
