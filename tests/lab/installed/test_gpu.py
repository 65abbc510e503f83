"""Simulated GPUs on an installed cluster: counted by the kubelet, handed out by CDI name, taken away when they fail."""

import json
import shlex
from collections.abc import Iterator

import pytest

from llmprov.bundle.lock import BundleLock
from llmprov.paths import cache_dir
from llmprov.workflows.references import pinned
from tests.lab.conftest import KUBECTL, Installed, Lab
from tests.lab.polling import until

pytestmark = pytest.mark.lab
WORKER = "gpu2"
NAMESPACE = "test-gpu"
FAULT = "/run/llmprov/gpu-faults/1"
# The kubelet reports what changed within four seconds; the machine may be busy.
SECONDS = 60


@pytest.fixture(scope="module")
def lab(installed: Installed) -> Lab:
    return installed.lab


def counted(lab: Lab, field: str) -> int:
    shown = lab.ssh("cp1", f"{KUBECTL} get node {WORKER} --output=json")
    return int(json.loads(shown)["status"][field].get("nvidia.com/gpu", "0"))


@pytest.fixture
def namespace(lab: Lab) -> Iterator[str]:
    lab.ssh("cp1", f"{KUBECTL} create namespace {NAMESPACE}")
    yield NAMESPACE
    lab.ssh("cp1", f"{KUBECTL} delete namespace {NAMESPACE} --timeout=120s")


def test_the_kubelet_counts_the_devices_of_the_hosts_cdi_specification(lab: Lab) -> None:
    spec = json.loads(lab.ssh(WORKER, "cat /run/cdi/nvidia.json"))
    devices = [device["name"] for device in spec["devices"] if device["name"] != "all"]
    assert devices
    assert counted(lab, "capacity") == counted(lab, "allocatable") == len(devices)


def test_a_restricted_pod_gets_what_its_device_brings(lab: Lab, namespace: str) -> None:
    image = pinned(BundleLock.load(cache_dir() / "bundle").image("kube-proxy"))
    restricted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsUser": 10001}
    container = {
        "name": "probe",
        "image": image,
        "command": ["sh", "-c", "env | grep ^LLMPROV_SIMULATED_GPU_; cat /run/llmprov/gpus/*"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "securityContext": {**restricted, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {"restartPolicy": "Never", "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": spec}
    kubectl = f"{KUBECTL} --namespace {namespace}"
    lab.ssh("cp1", f"echo {shlex.quote(json.dumps(pod))} | {kubectl} apply --filename=-")
    lab.ssh("cp1", f"{kubectl} wait --for=jsonpath={{.status.phase}}=Succeeded pod/probe --timeout=90s")
    variable, file = lab.ssh("cp1", f"{kubectl} logs probe").splitlines()
    name, _, number = variable.partition("=")
    assert name == f"LLMPROV_SIMULATED_GPU_{number}"
    assert file == f"simulated GPU {number}"


def test_a_gpu_that_fails_is_taken_away_and_comes_back(lab: Lab) -> None:
    before = counted(lab, "allocatable")
    lab.ssh(WORKER, f"sudo touch {FAULT}")
    try:
        until(lambda: counted(lab, "allocatable") == before - 1, seconds=SECONDS, what="the GPU to be taken away")
        assert counted(lab, "capacity") == before
    finally:
        lab.ssh(WORKER, f"sudo rm {FAULT}")
    until(lambda: counted(lab, "allocatable") == before, seconds=SECONDS, what="the GPU to come back")
