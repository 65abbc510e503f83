"""Ansible module: everything the roles branch on, read in one call."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.llmprov_probe_facts import facts

DOCUMENTATION = r"""
module: host_probe
short_description: Read what llmprov's roles branch on
description:
  - Reads operating system, cgroup version, swap, Kubernetes membership and stage records of a host in one call.
  - Records come without the digests of their inputs; C(llmprov plan) reads those by its own probe.
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
      records:
        base:
          {schema: 2, stage: base, fingerprint: 0123, files: {}, units: [], packages: {},
           finished: "2026-01-01T00:00:00Z"}
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, ansible_facts={"llmprov": facts()})


if __name__ == "__main__":
    main()
