"""What is found without a driver is what the driver says: models by PCI id, the version of the kernel module."""

from types import ModuleType

import pytest
import yaml

from llmprov.paths import content_root
from tests.device.conftest import Gpu, load

pytestmark = pytest.mark.device

VARIABLES = content_root() / "roles" / "nvidia_driver" / "vars" / "main.yml"


def test_device_ids_on_the_bus_are_those_of_nvml(gpus: tuple[Gpu, ...]) -> None:
    found = {gpu["address"]: gpu["device"] for gpu in load("llmprov_facts_system").gpus()}
    assert found == {gpu.address: gpu.device for gpu in gpus}


def test_every_gpu_is_a_known_model_of_that_name(gpus: tuple[Gpu, ...]) -> None:
    models = yaml.safe_load(VARIABLES.read_text(encoding="utf-8"))["__nvidia_driver_models"]
    for gpu in gpus:
        assert gpu.device in models, f"{gpu.name} ({gpu.device}) is not in roles/nvidia_driver/vars/main.yml"
        assert models[gpu.device]["name"].split()[0] in gpu.name


def test_the_loaded_module_is_nvmls_and_open(gpus: tuple[Gpu, ...], nvidia_facts: ModuleType) -> None:
    loaded = nvidia_facts.loaded_module()
    assert {gpu.driver for gpu in gpus} == {loaded["version"]}
    assert loaded["open"]
    assert not nvidia_facts.nouveau()


def test_memory_is_what_the_model_has(gpus: tuple[Gpu, ...]) -> None:
    assert all(gpu.memory_mib > 1024 for gpu in gpus)
