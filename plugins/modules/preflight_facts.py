"""Ansible module: all that preflight wants to know about a host, in one call."""

from __future__ import annotations

import platform
import sys
import time

from ansible.module_utils import llmprov_facts_network as network
from ansible.module_utils import llmprov_facts_peers as peers
from ansible.module_utils import llmprov_facts_system as system
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: preflight_facts
short_description: Collect facts for llmprov's preflight
description:
  - Reads the host and tries the way to every other host. Changes nothing, in check mode and out of it.
  - Returns raw facts; llmprov judges them on the controller.
  - Needs Python 3.9 and nothing else on the host.
options:
  peers: {type: list, elements: dict, default: [], description: "Other hosts: name, address, port (TCP, of SSH)."}
  ports: {type: list, elements: int, default: [], description: TCP ports whose listeners are reported.}
  features: {type: list, elements: str, default: [], description: "Kernel features, by the name of their module."}
  paths: {type: list, elements: str, default: [], description: Paths whose file systems are measured.}
  names: {type: list, elements: str, default: [], description: DNS names to resolve.}
  seconds: {type: float, default: 2, description: How long to wait for answers of other hosts.}
"""

EXAMPLES = r"""
- name: Collect facts
  preflight_facts:
    peers: [{name: gpu1, address: 10.0.0.21, port: 22}]
    ports: [6443]
    features: [overlay]
    paths: [/var/lib/containerd]
"""

RETURN = r"""
facts:
  description: The facts; llmprov/preflight/facts.py describes each.
  returned: always
  type: dict
"""


def main() -> None:
    """Collect the facts."""
    started = time.time()
    module = AnsibleModule(
        argument_spec={
            "peers": {"type": "list", "elements": "dict", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "features": {"type": "list", "elements": "str", "default": []},
            "paths": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "seconds": {"type": "float", "default": 2},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    facts = {
        "started": started,
        "os": system.operating_system(),
        "identity": system.identity(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "system_state": system.system_state(),
        "cores": len(system.os.sched_getaffinity(0)),
        "memory": system.memory(),
        "cgroups": system.control_groups(),
        "features": system.features(wanted["features"]),
        "disks": system.disks(wanted["paths"]),
        "gpus": system.gpus(),
        "remains": system.remains(),
        "stages": system.stages(),
        "time_service": system.time_service(),
        "firewalls": system.firewall(),
        "interfaces": network.interfaces(),
        "listeners": network.listeners(wanted["ports"]),
        "names": network.resolve(wanted["names"], wanted["seconds"]),
        "peers": peers.reach(wanted["peers"], network.mtu_by_address(), wanted["seconds"]),
        "ended": time.time(),
    }
    module.exit_json(changed=False, facts=facts)


if __name__ == "__main__":
    main()
