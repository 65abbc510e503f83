"""What a host says about NVIDIA GPUs and their driver: PCI bus, kernel module, Secure Boot, packages.

Runs on the host's own Python (3.9 or later); the standard library only. Nothing here changes the host, and no driver is
needed.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

NVIDIA = "0x10de"
_BRIDGE_CLASS = "0x0680"
_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_PACKAGE = re.compile(r"^Package: (\S+)\nStatus: \S+ ok installed\n(?:.+\n)*?Version: (\S+)$", re.MULTILINE)
_NVIDIA_PACKAGE = re.compile(r"nvidia|^libcuda1$|^cuda-drivers")


def switches(bus: Path = Path("/sys/bus/pci/devices")) -> int:
    """Return how many NVSwitches are on the PCI bus."""
    kinds = [(_text(device / "vendor").strip(), _text(device / "class").strip()) for device in bus.glob("*")]
    return sum(vendor == NVIDIA and kind.startswith(_BRIDGE_CLASS) for vendor, kind in kinds)


def loaded_module(root: Path = Path("/")) -> dict[str, object]:
    """Return version and kind of the kernel module that is loaded; the version is empty when none is."""
    told = _text(root / "proc/driver/nvidia/version")
    version = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", told)
    return {"version": version[1] if version else "", "open": "Open Kernel Module" in told}


def secure_boot(root: Path = Path("/")) -> bool:
    """Say whether the firmware only lets signed kernel modules in. The variable has four bytes of attributes first."""
    try:
        return (root / _SECURE_BOOT).read_bytes()[4:5] == b"\x01"
    except OSError:
        return False


def packages(root: Path = Path("/")) -> dict[str, str]:
    """Return name and version of every installed package of NVIDIA's."""
    status = _text(root / "var/lib/dpkg/status")
    return {name: version for name, version in _PACKAGE.findall(status) if _NVIDIA_PACKAGE.search(name)}


def module_on_disk() -> dict[str, str]:
    """Return version and signer of the kernel module that the running kernel would load; empty when there is none."""
    return {"version": _modinfo("version"), "signer": _modinfo("signer")}


def has_headers(root: Path = Path("/")) -> bool:
    """Say whether modules can be built for the running kernel."""
    return (root / "lib/modules" / os.uname().release / "build").exists()


def nouveau(root: Path = Path("/")) -> bool:
    """Say whether the free driver is loaded; NVIDIA's cannot be, beside it."""
    return (root / "sys/module/nouveau").is_dir()


def _modinfo(field: str) -> str:
    try:
        done = subprocess.run(
            ["modinfo", "--field", field, "nvidia"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
