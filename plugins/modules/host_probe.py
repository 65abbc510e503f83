"""Ansible module: everything the roles branch on, read in one call."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: host_probe
short_description: Read what llmprov's roles branch on
description:
  - Reads operating system, cgroup version, swap, Kubernetes membership and stage records of a host in one call.
  - Changes nothing; runs in check mode.
options: {}
"""

EXAMPLES = r"""
- name: Probe the host
  host_probe:
"""

RETURN = r"""
ansible_facts:
  description: One dictionary, C(llmprov), under C(ansible_facts).
  returned: always
  type: dict
  sample:
    llmprov:
      os: {id: debian, version: "13", codename: trixie}
      architecture: x86_64
      kernel: 6.12.0-1-amd64
      container: false
      cgroup_version: 2
      swaps: [/dev/sda2]
      kubernetes: {kubelet_joined: true, control_plane: false, join_file: false, kubeadm_started: true}
      records: {base: {schema: 1, stage: base, fingerprint: 0123, files: {}, finished: "2026-01-01T00:00:00Z"}}
"""

_ETC_KUBERNETES = Path("/etc/kubernetes")
_RECORDS = Path("/var/lib/llmprov/stages")


def _operating_system() -> dict[str, str]:
    release = platform.freedesktop_os_release()
    return {
        "id": release.get("ID", "unknown"),
        "version": release.get("VERSION_ID", "unknown"),
        "codename": release.get("VERSION_CODENAME", "unknown"),
    }


def _in_container() -> bool:
    """Say what systemd's ConditionVirtualization=container would."""
    return Path("/run/systemd/container").exists() or Path("/run/host/container-manager").exists()


def _cgroup_version() -> int:
    return 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1


def _swaps() -> list[str]:
    table = Path("/proc/swaps")
    lines = table.read_text(encoding="utf-8").splitlines()[1:] if table.exists() else []
    return [line.split()[0] for line in lines if line.strip()]


def _kubernetes() -> dict[str, bool]:
    """Tell how far kubeadm got: it writes the CA first and kubelet.conf once the node is accepted."""
    return {
        "kubelet_joined": (_ETC_KUBERNETES / "kubelet.conf").exists(),
        "control_plane": (_ETC_KUBERNETES / "llmprov-control-plane").exists(),
        "join_file": (_ETC_KUBERNETES / "llmprov-join.yaml").exists(),
        "kubeadm_started": (_ETC_KUBERNETES / "pki" / "ca.crt").exists(),
    }


def _records() -> dict[str, object]:
    """Read the records of finished stages; one that cannot be read counts as none, and is written again."""
    records = {}
    for path in sorted(_RECORDS.glob("*.json")) if _RECORDS.is_dir() else []:
        try:
            records[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
    return records


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    facts = {
        "os": _operating_system(),
        "architecture": platform.machine(),
        "kernel": os.uname().release,
        "container": _in_container(),
        "cgroup_version": _cgroup_version(),
        "swaps": _swaps(),
        "kubernetes": _kubernetes(),
        "records": _records(),
    }
    module.exit_json(changed=False, ansible_facts={"llmprov": facts})


if __name__ == "__main__":
    main()
