"""On a machine with an NVIDIA GPU: the PCI bus says what the driver says."""

import importlib.util
import shutil
import subprocess

import pytest

from llmprov.paths import content_root

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs an NVIDIA GPU with its driver"),
]


def test_every_gpu_of_the_driver_is_found_on_the_bus() -> None:
    file = content_root() / "plugins" / "module_utils" / "llmprov_facts_system.py"
    spec = importlib.util.spec_from_file_location("llmprov_facts_system", file)
    assert spec is not None
    assert spec.loader is not None
    system = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(system)
    query = ["nvidia-smi", "--query-gpu=pci.bus_id", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    found = system.gpus()
    # nvidia-smi writes eight digits of PCI domain, sysfs four.
    assert sorted(gpu["address"] for gpu in found) == sorted(address.lower()[4:] for address in listed)
    assert {gpu["driver"] for gpu in found} == {"nvidia"}
    assert system.remains()["driver_version"]
