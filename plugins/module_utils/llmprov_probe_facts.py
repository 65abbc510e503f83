"""What the roles branch on, and the records of finished stages; read-only.

Runs on the host's own Python (3.10 or later); the standard library only.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

RECORDS = "var/lib/llmprov/stages"
KUBERNETES = "etc/kubernetes"


def facts(root: Path = Path("/")) -> dict[str, Any]:
    """Return what roles see as `ansible_facts.llmprov`.

    Records come without their inputs: digests of secrets have no business in facts, and the fingerprint covers them.

    Args:
        root: where records and Kubernetes' files are looked for; the system is always the one that runs this.
    """
    records, _ = read_records(root)
    return {
        "os": operating_system(),
        "architecture": platform.machine(),
        "kernel": os.uname().release,
        "container": in_container(),
        "cgroup_version": cgroup_version(),
        "swaps": swaps(),
        "kubernetes": kubernetes(root),
        "records": {name: _without_inputs(record) for name, record in records.items()},
    }


def operating_system() -> dict[str, str]:
    """Return id, version and code name of the release."""
    release = platform.freedesktop_os_release()
    return {
        "id": release.get("ID", "unknown"),
        "version": release.get("VERSION_ID", "unknown"),
        "codename": release.get("VERSION_CODENAME", "unknown"),
    }


def in_container() -> bool:
    """Say what systemd's ConditionVirtualization=container would."""
    return Path("/run/systemd/container").exists() or Path("/run/host/container-manager").exists()


def cgroup_version() -> int:
    """Return 2 where control groups are unified."""
    return 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1


def swaps() -> list[str]:
    """Return the devices and files that are swapped to."""
    table = Path("/proc/swaps")
    lines = table.read_text(encoding="utf-8").splitlines()[1:] if table.exists() else []
    return [line.split()[0] for line in lines if line.strip()]


def kubernetes(root: Path = Path("/")) -> dict[str, bool]:
    """Tell how far kubeadm got: it writes the CA first and kubelet.conf once the node is accepted."""
    directory = root / KUBERNETES
    return {
        "kubelet_joined": (directory / "kubelet.conf").exists(),
        "control_plane": (directory / "llmprov-control-plane").exists(),
        "join_file": (directory / "llmprov-join.yaml").exists(),
        "kubeadm_started": (directory / "pki" / "ca.crt").exists(),
    }


def read_records(root: Path = Path("/")) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the records of finished stages as they are, and of those that cannot be read the reason; by stage."""
    records: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    directory = root / RECORDS
    for path in sorted(directory.glob("*.json")) if directory.is_dir() else []:
        try:
            records[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            unreadable[path.stem] = str(error)
    return records, unreadable


def _without_inputs(record: object) -> object:
    return {key: value for key, value in record.items() if key != "inputs"} if isinstance(record, dict) else record
