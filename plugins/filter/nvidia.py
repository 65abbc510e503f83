"""Filters of the GPU roles: what stands in the way of a driver, what it needs on a host. Pure functions over facts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# Packages that are built from the driver's own source, and so carry its version. Not among them: the container toolkit
# (libnvidia-container*), whose releases are its own.
_DRIVER_PACKAGE = re.compile(
    r"^(cuda-drivers|libcuda1|libcudadebugger1|libnvcuvid1|libnvidia-(?!container|egl)\S+|libnvsdm\S*|libnvoptix1"
    r"|nvidia-(?!container|cuda|docker|egl|settings|support|installer)\S+|firmware-nvidia-gsp|xserver-xorg-video-nvidia\S*)$"
)
_FABRIC_MANAGER = re.compile(r"^nvidia-fabric-?manager")
_HEADERS = "linux-headers-"


def upstream_version(version: str) -> str:
    """Return the upstream part of a Debian version: `1:580.95.05-1~deb12u1` → `580.95.05`."""
    return version.rpartition(":")[2].partition("-")[0].partition("+")[0]


def driver_versions(packages: Mapping[str, str]) -> dict[str, str]:
    """Return name and upstream version of those packages that must have the driver's version.

    Args:
        packages: names and Debian versions.
    """
    return {name: upstream_version(version) for name, version in packages.items() if _DRIVER_PACKAGE.match(name)}


def nvidia_needs_fabric_manager(
    facts: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]], choice: str = "auto"
) -> bool:
    """Say whether the GPUs of a host are joined by switches that fabric manager has to set up.

    Args:
        facts: as module nvidia_facts returns them.
        models: by PCI device id; `fabric_manager` is never, always, or with_switches (that the PCI bus shows).
        choice: auto, enabled or disabled.
    """
    if choice != "auto":
        return choice == "enabled"
    wishes = {models[gpu["device"]]["fabric_manager"] for gpu in facts["gpus"] if gpu["device"] in models}
    return "always" in wishes or ("with_switches" in wishes and bool(facts["switches"]))


def nvidia_driver_problems(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return everything that stands in the way of the driver on a host, each with its remedy.

    Args:
        facts: as module nvidia_facts returns them.
        wanted: `version`; `install` (or the host brings its driver); `simulated`; `models`; `packages` (name and
            version of those in the bundle for this release); `release`; `secure_boot` (refuse, signed);
            `fabric_manager`.
    """
    checks = [_bundle] if wanted["install"] and (wanted["packages"] or not wanted["simulated"]) else []
    if not wanted["simulated"]:
        checks += [_gpus, *((_installed, _secure_boot, _headers) if wanted["install"] else (_brought,))]
    return [problem for check in checks for problem in check(facts, wanted)]


def _gpus(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    models, version = wanted["models"], wanted["version"]
    if not facts["gpus"]:
        yield (
            "no NVIDIA GPU is on the PCI bus: look at `lspci -d 10de:`, seat the cards, or take the host out of "
            "gpu_workers"
        )
    unknown = [f"{gpu['device']} at {gpu['address']}" for gpu in facts["gpus"] if gpu["device"] not in models]
    if unknown:
        known = ", ".join(f"{key} {model['name']}" for key, model in sorted(models.items()))
        yield (
            f"unknown GPU model {', '.join(unknown)}. Known are: {known}. "
            "If the driver supports it, describe it in nvidia_driver_further_models"
        )
    for device in sorted({gpu["device"] for gpu in facts["gpus"]} & models.keys()):
        if _numbers(version) < _numbers(models[device]["minimum_driver"]):
            yield (
                f"{models[device]['name']} needs driver {models[device]['minimum_driver']} or later, "
                f"nvidia_driver_version is {version}: set a later one and build the bundle with it"
            )


def _bundle(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    version, release = wanted["version"], wanted["release"]
    found = driver_versions(wanted["packages"])
    if not found:
        yield (
            f"the bundle has no NVIDIA driver for {release}: build it with catalog upstream and that release, or set "
            "nvidia_driver_install to false where the host brings its driver"
        )
        return
    if version not in found.values():
        has = ", ".join(sorted(set(found.values())))
        yield (
            f"driver {version} is not in the bundle, which has {has} for {release}: set nvidia_driver_version to that, "
            "or set nvidia_driver in the catalog's versions and build the bundle again"
        )
        return
    others = [f"{name} {other}" for name, other in sorted(found.items()) if other != version]
    if others:
        yield (
            f"the bundle's driver is {version}, but it has {', '.join(others)}: driver, libraries, NSCQ and fabric "
            "manager work only with their own version; build the bundle again with one version of all"
        )
    needed = nvidia_needs_fabric_manager(facts, wanted["models"], wanted["fabric_manager"])
    if needed and not any(_FABRIC_MANAGER.match(name) for name in found):
        yield (
            "the GPUs are joined by NVSwitches, but the bundle has no nvidia-fabricmanager: add it to the catalog, or "
            "set nvidia_driver_fabric_manager to disabled"
        )


def _installed(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """Find packages of a newer driver: they would not be replaced, since nothing is ever downgraded."""
    version = wanted["version"]
    newer = [
        f"{name} {found}"
        for name, found in sorted(driver_versions(facts["packages"]).items())
        if _numbers(found) > _numbers(version)
    ]
    if newer:
        yield (
            f"a newer driver than {version} is installed: {', '.join(newer)}. Purge it (apt purge 'nvidia-*' "
            "'libnvidia-*'), or set nvidia_driver_version to it and build the bundle with it"
        )


def _secure_boot(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    if facts["secure_boot"] and wanted["secure_boot"] != "signed" and not facts["on_disk"]["signer"]:
        yield (
            "Secure Boot is on and the driver's kernel module would not be signed by a key that the firmware knows: "
            "switch Secure Boot off, or enrol the key DKMS signs with (mokutil --import) and set "
            "nvidia_driver_secure_boot to signed"
        )


def _headers(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    package = f"{_HEADERS}{facts['kernel']}"
    if not facts["headers"] and not facts["on_disk"]["version"] and package not in wanted["packages"]:
        has = ", ".join(sorted(name for name in wanted["packages"] if name.startswith(_HEADERS))) or "none"
        yield (
            f"the kernel module cannot be built: the headers of kernel {facts['kernel']} are not installed and "
            f"{package} is not in the bundle (headers in it: {has}); boot a kernel it has headers for, or install them"
        )


def _brought(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    loaded, version = facts["loaded"]["version"], wanted["version"]
    if loaded != version:
        yield (
            f"nvidia_driver_install is false, and the loaded driver is {loaded or 'none'}, not {version}: load that "
            "one, or set nvidia_driver_version to what the host brings"
        )


def nvidia_needs_reboot(facts: Mapping[str, Any], version: str) -> bool:
    """Say whether only a reboot can bring the wanted module in: another one is loaded, or nouveau has the GPUs."""
    return facts["nouveau"] or facts["loaded"]["version"] not in ("", version)


def pods_in_the_way(listing: Mapping[str, Any]) -> list[str]:
    """Return the pods that a drain would have moved: neither ended, nor static, nor of a DaemonSet.

    Args:
        listing: a PodList of the Kubernetes API.
    """
    names = []
    for pod in listing["items"]:
        owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences", [])}
        ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if not ended and not owners & {"DaemonSet", "Node"}:
            names.append(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
    return sorted(names)


def simulated_cdi_spec(count: int, files: str) -> dict[str, Any]:
    """Return a CDI spec of GPUs that are not there: each brings an environment variable and a small file.

    Args:
        count: how many.
        files: directory on the host with one file a GPU, named by its number.
    """
    devices = [{"name": str(index), "containerEdits": _edits([index], files)} for index in range(count)]
    if count:
        devices.append({"name": "all", "containerEdits": _edits(range(count), files)})
    return {"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": devices}


def simulated_gpu_file(name: str, directory: str) -> dict[str, str]:
    """Return the file that stands for a simulated GPU, as module host_files takes it."""
    return {"path": f"{directory}/{name}", "content": f"simulated GPU {name}\n"}


def _edits(indices: Sequence[int], files: str) -> dict[str, Any]:
    return {
        "env": [f"LLMPROV_SIMULATED_GPU_{index}={index}" for index in indices],
        "mounts": [
            {"hostPath": f"{files}/{index}", "containerPath": f"/run/llmprov/gpus/{index}", "options": ["ro", "bind"]}
            for index in indices
        ],
    }


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "nvidia_driver_problems": nvidia_driver_problems,
            "nvidia_needs_fabric_manager": nvidia_needs_fabric_manager,
            "nvidia_needs_reboot": nvidia_needs_reboot,
            "pods_in_the_way": pods_in_the_way,
            "simulated_cdi_spec": simulated_cdi_spec,
            "simulated_gpu_file": simulated_gpu_file,
        }
