"""A machine with an NVIDIA GPU and its driver; where there is none, the tests are skipped and say so."""

import csv
import importlib.util
import io
import shutil
import subprocess
import sys
from dataclasses import dataclass
from types import ModuleType

import pytest

from llmprov.paths import content_root


@dataclass(frozen=True)
class Gpu:
    """What the driver says of one GPU; the address is as in sysfs."""

    address: str
    device: str
    name: str
    uuid: str
    driver: str
    memory_mib: int


@pytest.fixture(scope="session", autouse=True)
def _needs_a_gpu() -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("needs an NVIDIA GPU with its driver: there is no nvidia-smi")


@pytest.fixture(scope="session")
def gpus() -> tuple[Gpu, ...]:
    """The GPUs as the driver lists them, by NVML."""
    fields = "pci.bus_id,pci.device_id,name,uuid,driver_version,memory.total"
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, check=True)
    return tuple(_gpu(row) for row in csv.reader(io.StringIO(done.stdout), skipinitialspace=True))


@pytest.fixture(scope="session")
def nvidia_facts() -> ModuleType:
    """The code of module nvidia_facts that reads the host."""
    return load("llmprov_facts_nvidia")


def load(name: str) -> ModuleType:
    """Import one of Ansible's module utilities."""
    file = content_root() / "plugins" / "module_utils" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _gpu(row: list[str]) -> Gpu:
    address, ids, name, uuid, driver, memory = row
    # nvidia-smi writes eight digits of PCI domain, sysfs four; device and vendor are one number.
    return Gpu(address.lower()[4:], f"0x{int(ids, 16) >> 16:04x}", name, uuid, driver, int(memory))
