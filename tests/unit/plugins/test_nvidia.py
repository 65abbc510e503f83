"""What stands in the way of a driver: each bad input is named with its remedy, and a sound host passes."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from llmprov.paths import content_root

type Load = Callable[[str, str], ModuleType]
type Values = dict[str, Any]

VERSION = "580.159.04"
ROLE = content_root() / "roles" / "nvidia_driver"
MODELS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))["__nvidia_driver_models"]
H200 = {"address": "0000:00:06.0", "device": "0x2335", "class": "0x030200", "driver": ""}
# As NVIDIA's repository for Debian names them.
PACKAGES = {
    "nvidia-kernel-open-dkms": f"{VERSION}-1",
    "libcuda1": f"{VERSION}-1",
    "libnvidia-ml1": f"{VERSION}-1",
    "libnvidia-nscq": f"{VERSION}-1",
    "nvidia-fabricmanager": f"{VERSION}-1",
    "nvidia-persistenced": f"{VERSION}-1",
    "libnvidia-egl-wayland1": "1:1.1.18-1",
    "dkms": "3.2.2-1~deb13u1",
    "linux-headers-6.12.57+deb13-amd64": "6.12.57-1",
}


@pytest.fixture
def nvidia(plugin: Load) -> ModuleType:
    return plugin("filter", "nvidia")


def facts(**changes: object) -> Values:
    return {
        "gpus": [H200],
        "switches": 4,
        "loaded": {"version": "", "open": False},
        "on_disk": {"version": "", "signer": ""},
        "packages": {},
        "kernel": "6.12.57+deb13-amd64",
        "headers": False,
        "secure_boot": False,
        "nouveau": False,
        **changes,
    }


def wanted(**changes: object) -> Values:
    return {
        "version": VERSION,
        "install": True,
        "simulated": False,
        "release": "trixie",
        "models": MODELS,
        "packages": PACKAGES,
        "secure_boot": "refuse",
        "fabric_manager": "auto",
        **changes,
    }


def test_a_sound_host_is_let_through(nvidia: ModuleType) -> None:
    assert nvidia.nvidia_driver_problems(facts(), wanted()) == []


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in PACKAGES.items() if key != name}


@pytest.mark.parametrize(
    ("host", "bundle", "says"),
    [
        (
            {},
            {"version": "570.10"},
            [f"driver 570.10 is not in the bundle, which has {VERSION}", "build the bundle again"],
        ),
        (
            {},
            {"packages": {**PACKAGES, "nvidia-fabricmanager": "580.126.09-1"}},
            [f"bundle's driver is {VERSION}, but it has nvidia-fabricmanager 580.126.09", "one version of all"],
        ),
        (
            {},
            {"packages": {**PACKAGES, "libnvidia-nscq": "580.126.09-1"}},
            ["libnvidia-nscq 580.126.09", "one version of all"],
        ),
        ({}, {"packages": without("nvidia-fabricmanager")}, ["no nvidia-fabricmanager", "add it to the catalog"]),
        ({"headers": True}, {"packages": {}}, ["no NVIDIA driver for trixie", "catalog upstream"]),
        (
            {"gpus": [{**H200, "device": "0x0fff"}]},
            {},
            ["unknown GPU model 0x0fff at 0000:00:06.0", "0x2335 H200 SXM 141GB", "nvidia_driver_further_models"],
        ),
        (
            {"gpus": [{**H200, "device": "0x2901"}]},
            {"version": "550.54", "packages": dict.fromkeys(without("dkms"), "550.54-1")},
            ["B200 needs driver 570 or later"],
        ),
        ({"gpus": []}, {}, ["no NVIDIA GPU is on the PCI bus", "out of gpu_workers"]),
        ({"secure_boot": True}, {}, ["Secure Boot is on", "mokutil --import"]),
        ({"kernel": "6.1.0-40-amd64"}, {}, ["headers of kernel 6.1.0-40-amd64", "linux-headers-6.12.57+deb13-amd64"]),
        (
            {"packages": {"nvidia-kernel-open-dkms": "590.48.01-1"}},
            {},
            ["newer driver than 580.159.04 is installed: nvidia-kernel-open-dkms 590.48.01", "Purge it"],
        ),
        (
            {"loaded": {"version": "570.10", "open": True}},
            {"install": False},
            ["the loaded driver is 570.10, not 580.159.04", "nvidia_driver_version"],
        ),
    ],
)
def test_bad_input_is_refused(nvidia: ModuleType, host: Values, bundle: Values, says: list[str]) -> None:
    [problem] = nvidia.nvidia_driver_problems(facts(**host), wanted(**bundle))
    assert [text for text in says if text not in problem] == []


def test_all_problems_are_told_at_once(nvidia: ModuleType) -> None:
    host = facts(gpus=[{**H200, "device": "0x0fff"}], secure_boot=True)
    assert len(nvidia.nvidia_driver_problems(host, wanted(version="570.10"))) == 3


def test_simulated_gpus_need_no_driver_but_a_bundle_that_has_one_is_still_checked(nvidia: ModuleType) -> None:
    host = facts(gpus=[], switches=0)
    assert nvidia.nvidia_driver_problems(host, wanted(simulated=True, packages={})) == []
    mixed = {**PACKAGES, "nvidia-fabricmanager": "580.126.09-1"}
    assert len(nvidia.nvidia_driver_problems(host, wanted(simulated=True, packages=mixed))) == 1


def test_a_signed_module_is_let_through_secure_boot(nvidia: ModuleType) -> None:
    signed = facts(secure_boot=True, on_disk={"version": VERSION, "signer": "DKMS module signing key"})
    assert nvidia.nvidia_driver_problems(signed, wanted()) == []
    assert nvidia.nvidia_driver_problems(facts(secure_boot=True), wanted(secure_boot="signed")) == []


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("580.159.04-1", "580.159.04"),
        ("580.95.05-0ubuntu0.24.04.2", "580.95.05"),
        ("1:580.95.05-1~deb12u1", "580.95.05"),
    ],
)
def test_the_driver_version_of_a_package(nvidia: ModuleType, version: str, upstream: str) -> None:
    assert nvidia.upstream_version(version) == upstream


def test_only_packages_of_the_drivers_source_must_agree(nvidia: ModuleType) -> None:
    names = [
        "nvidia-dkms-580-open",
        "libnvidia-compute-580",
        "nvidia-utils-580",
        "nvidia-container-toolkit",
        "libnvidia-container1",
        "libnvidia-egl-gbm1",
        "nvidia-settings",
        "gcc",
    ]
    assert list(nvidia.driver_versions(dict.fromkeys(names, VERSION))) == names[:3]


@pytest.mark.parametrize(
    ("device", "switches", "choice", "needed"),
    [
        ("0x2335", 4, "auto", True),
        ("0x2335", 0, "auto", False),
        ("0x2331", 4, "auto", False),
        ("0x2901", 0, "auto", True),
        ("0x2335", 0, "enabled", True),
        ("0x2335", 4, "disabled", False),
    ],
)
def test_fabric_manager_runs_where_switches_are(
    nvidia: ModuleType, device: str, switches: int, choice: str, *, needed: bool
) -> None:
    host = facts(gpus=[{**H200, "device": device}], switches=switches)
    assert nvidia.nvidia_needs_fabric_manager(host, MODELS, choice) is needed


def test_known_models_are_whole_and_of_nvidias_form() -> None:
    for device, model in MODELS.items():
        assert device == f"0x{int(device, 16):04x}"
        assert model["fabric_manager"] in ("never", "always", "with_switches")
        assert model["minimum_driver"].isdigit()
        assert model["name"]
        assert set(model) == {"name", "fabric_manager", "minimum_driver"}


def test_reboot_only_where_nothing_else_helps(nvidia: ModuleType) -> None:
    assert not nvidia.nvidia_needs_reboot(facts(), VERSION)
    assert not nvidia.nvidia_needs_reboot(facts(loaded={"version": VERSION, "open": True}), VERSION)
    assert nvidia.nvidia_needs_reboot(facts(loaded={"version": "570.10", "open": True}), VERSION)
    assert nvidia.nvidia_needs_reboot(facts(nouveau=True), VERSION)


def test_a_drained_node_keeps_daemons_static_pods_and_what_has_ended(nvidia: ModuleType) -> None:
    def pod(name: str, owner: str = "", phase: str = "Running") -> Values:
        metadata = {"namespace": "n", "name": name, "ownerReferences": [{"kind": owner}] if owner else []}
        return {"metadata": metadata, "status": {"phase": phase}}

    pods = [pod("a", "DaemonSet"), pod("b", "Node"), pod("c", "Job", "Succeeded"), pod("e"), pod("d", "ReplicaSet")]
    assert nvidia.pods_in_the_way({"items": pods}) == ["n/d", "n/e"]


def test_simulated_gpus_are_a_cdi_spec(nvidia: ModuleType) -> None:
    spec = nvidia.simulated_cdi_spec(2, "/gpus")
    assert spec["kind"] == "nvidia.com/gpu"
    assert [device["name"] for device in spec["devices"]] == ["0", "1", "all"]
    assert spec["devices"][1]["containerEdits"]["env"] == ["LLMPROV_SIMULATED_GPU_1=1"]
    assert len(spec["devices"][2]["containerEdits"]["mounts"]) == 2
    assert nvidia.simulated_cdi_spec(0, "/gpus")["devices"] == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An H200 machine's file system, as far as it is read."""
    version = tmp_path / "proc/driver/nvidia/version"
    version.parent.mkdir(parents=True)
    version.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (nixbld@)\n"
        "GCC version:  gcc version 15.3.0 (GCC)\n"
    )
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: libnvidia-ml1\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 580.159.04-1\n\n"
        "Package: nvidia-smi\nStatus: deinstall ok config-files\nVersion: 570.10-1\n\n"
        "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\n"
    )
    return tmp_path


def test_facts_are_read_without_a_driver(plugin: Load, root: Path) -> None:
    reader = plugin("module_utils", "llmprov_facts_nvidia")
    assert reader.loaded_module(root) == {"version": VERSION, "open": True}
    assert reader.packages(root) == {"libnvidia-ml1": f"{VERSION}-1"}
    assert not reader.secure_boot(root)
    assert not reader.nouveau(root)
    assert reader.loaded_module(root / "nowhere") == {"version": "", "open": False}


@pytest.mark.parametrize(("content", "on"), [(b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\0", False), (b"", False)])
def test_secure_boot_is_the_byte_after_the_attributes(
    plugin: Load, tmp_path: Path, content: bytes, *, on: bool
) -> None:
    variables = tmp_path / "sys/firmware/efi/efivars"
    variables.mkdir(parents=True)
    (variables / "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c").write_bytes(content)
    assert plugin("module_utils", "llmprov_facts_nvidia").secure_boot(tmp_path) is on


def test_switches_are_counted_on_the_bus(plugin: Load, tmp_path: Path) -> None:
    for name, vendor, kind in (("a", "0x10de", "0x030200"), ("b", "0x10de", "0x068000"), ("c", "0x8086", "0x068000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert plugin("module_utils", "llmprov_facts_nvidia").switches(tmp_path) == 1
