"""What a host is made of: operating system, kernel, control groups, memory, disks, GPUs, and what others left on it.

Runs on the host's own Python (3.9 or later); the standard library only. Nothing here changes the host.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from pathlib import Path

STAGES = Path("/var/lib/llmprov/stages")
_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"
_CAP_SYS_ADMIN = 21
_REMAINS = (
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/manifests",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/pki",
    "/var/lib/etcd/member",
    "/etc/cni/net.d",
    "/etc/containerd/config.toml",
    "/var/lib/containerd/io.containerd.metadata.v1.bolt",
    "/var/lib/docker",
    "/var/lib/rancher",
    "/var/snap/microk8s",
    "/etc/crio",
)
_PROCESSES = ("kubelet", "containerd", "dockerd", "etcd", "k3s-server", "k3s-agent", "crio", "rke2", "kubelite")
_DRIVER_PACKAGE = re.compile(
    r"^(nvidia-(driver|dkms|kernel|open|headless)|cuda-drivers|libnvidia-compute|xserver-xorg-video-nvidia)"
)
# A symbol that each feature brings, for kernels that have it built in and say so nowhere else.
_SYMBOLS = {
    "overlay": "ovl_fill_super",
    "br_netfilter": "br_nf_pre_routing",
    "nf_conntrack": "nf_conntrack_in",
    "nf_tables": "nft_do_chain",
    "vxlan": "vxlan_xmit",
}


def operating_system() -> dict[str, str]:
    """Return id, version and name as os-release gives them."""
    values = {}
    for line in _text("/etc/os-release").splitlines():
        key, separator, value = line.partition("=")
        if separator:
            values[key.strip()] = value.strip().strip("\"'")
    return {
        "id": values.get("ID", ""),
        "version": values.get("VERSION_ID", ""),
        "name": values.get("PRETTY_NAME", ""),
        "arch": platform.machine(),
        "kernel": platform.release(),
    }


def identity() -> dict[str, str]:
    """Return what should tell this host from every other."""
    return {
        "hostname": platform.node(),
        "machine_id": _text("/etc/machine-id").strip(),
        "product_uuid": _text("/sys/class/dmi/id/product_uuid").strip().lower(),
        "container": _text("/run/systemd/container").strip(),
        "init": _text("/proc/1/comm").strip(),
    }


def features(names: list[str]) -> dict[str, str]:
    """Return for each kernel feature whether it is `loaded`, `builtin`, `loadable` or `missing`."""
    found = {name: _feature(name) for name in names}
    unknown = [name for name, state in found.items() if state == "missing" and name in _SYMBOLS]
    if unknown:
        # The last resort: 200,000 lines, a tenth of a second.
        symbols = _text("/proc/kallsyms")
        found.update({name: "builtin" for name in unknown if f" {_SYMBOLS[name]}\n" in symbols})
    return found


def _feature(name: str) -> str:
    release = platform.release()
    if Path("/sys/module", name).is_dir() or (name == "br_netfilter" and Path("/proc/sys/net/bridge").is_dir()):
        return "loaded"
    if re.search(rf"\t{name}$", _text("/proc/filesystems"), re.MULTILINE):
        return "loaded"
    file = f"/{name}.ko"
    for directory in ("/lib/modules", "/usr/lib/modules"):
        if file in _text(f"{directory}/{release}/modules.builtin"):
            return "builtin"
        if file in _text(f"{directory}/{release}/modules.dep"):
            return "loadable"
    return "missing"


def control_groups() -> dict[str, object]:
    """Return the version of control groups that systemd uses, and the controllers there are."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.is_file():
        return {"version": 2, "controllers": sorted(unified.read_text().split())}
    rows = [line.split() for line in _text("/proc/cgroups").splitlines() if not line.startswith("#")]
    return {"version": 1, "controllers": sorted(row[0] for row in rows if row[-1] == "1")}


def memory() -> dict[str, object]:
    """Return memory and swap, in bytes, and whether this host can turn its swap off."""
    lines = (line.split() for line in _text("/proc/meminfo").splitlines())
    sizes = {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in lines if len(fields) > 1}
    swaps = []
    for line in _text("/proc/swaps").splitlines()[1:]:
        name, kind, size, used = line.split()[:4]
        # In a container the swap is the machine's: its file is not to be seen from here.
        swaps.append(
            {
                "name": name,
                "kind": kind,
                "size": int(size) * 1024,
                "used": int(used) * 1024,
                "visible": Path(name).exists(),
            }
        )
    capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)", _text("/proc/self/status"), re.MULTILINE)
    return {
        "total": sizes.get("MemTotal", 0),
        "available": sizes.get("MemAvailable", 0),
        "swaps": swaps,
        "may_swapoff": bool(capabilities and int(capabilities[1], 16) >> _CAP_SYS_ADMIN & 1),
    }


def disks(paths: list[str]) -> list[dict[str, object]]:
    """Return room on the file system that holds each path, or would hold it; sizes in bytes."""
    found = []
    for path in paths:
        existing = Path(path)
        while not existing.exists():
            existing = existing.parent
        numbers = os.statvfs(existing)
        found.append(
            {
                "path": path,
                "device": existing.stat().st_dev,
                "size": numbers.f_blocks * numbers.f_frsize,
                "free": numbers.f_bavail * numbers.f_frsize,
                "writable": not numbers.f_flag & os.ST_RDONLY,
            }
        )
    return found


def gpus(bus: Path = Path("/sys/bus/pci/devices")) -> list[dict[str, str]]:
    """Return every NVIDIA GPU on the PCI bus, with the driver that holds it."""
    found = []
    for device in sorted(bus.glob("*")):
        kind = _text(str(device / "class")).strip()
        if _text(str(device / "vendor")).strip() == _NVIDIA and kind.startswith(_DISPLAY_CLASS):
            driver = device / "driver"
            found.append(
                {
                    "address": device.name,
                    "device": _text(str(device / "device")).strip(),
                    "class": kind,
                    "driver": driver.resolve().name if driver.exists() else "",
                }
            )
    return found


def remains() -> dict[str, object]:
    """Return traces of Kubernetes, of container runtimes and of NVIDIA drivers, whoever left them."""
    packages = re.findall(r"^Package: (\S+)\nStatus: install ok", _text("/var/lib/dpkg/status"), re.MULTILINE)
    version = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", _text("/proc/driver/nvidia/version"))
    return {
        "paths": [path for path in _REMAINS if _holds_something(Path(path))],
        "processes": sorted(_running() & set(_PROCESSES)),
        "driver_packages": sorted(name for name in packages if _DRIVER_PACKAGE.match(name)),
        "driver_version": version[1] if version else "",
        "nouveau": Path("/sys/module/nouveau").is_dir(),
    }


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _running() -> set[str]:
    return {_text(str(process / "comm")).strip() for process in Path("/proc").iterdir() if process.name.isdigit()}


def stages(directory: Path = STAGES) -> list[str]:
    """Return the stages that llmprov has finished on this host."""
    names = []
    for file in sorted(directory.glob("*.json")):
        try:
            names.append(str(json.loads(file.read_text())["stage"]))
        except (OSError, ValueError, KeyError):
            continue  # not a record; the stage will be run again
    return names


def time_service() -> str:
    """Return the process that keeps the clock right, or nothing."""
    known = {"chronyd", "systemd-timesyn", "ntpd", "ntpsec", "openntpd"}
    return next(iter(sorted(_running() & known)), "")


def firewall() -> list[str]:
    """Return the host firewalls that are switched on."""
    active = ["ufw"] if re.search(r"^ENABLED=yes", _text("/etc/ufw/ufw.conf"), re.MULTILINE) else []
    return [*active, "firewalld"] if "firewalld" in _running() else active


def system_state() -> str:
    """Return what systemd thinks of itself: running, degraded, starting, …; empty without systemd."""
    try:
        answer = subprocess.run(
            ["systemctl", "is-system-running"], capture_output=True, text=True, timeout=3, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
