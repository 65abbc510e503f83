"""Ansible module: what a host says about NVIDIA GPUs and their driver, in one call."""

from __future__ import annotations

import os

from ansible.module_utils import llmprov_facts_nvidia as nvidia
from ansible.module_utils import llmprov_facts_system as system
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: nvidia_facts
short_description: Read what llmprov's GPU roles branch on
description:
  - Finds GPUs and NVSwitches by PCI id, so that no driver is needed; reads the kernel module that is loaded and the one
    on disk, Secure Boot, nouveau, and the installed packages of NVIDIA's.
  - Changes nothing; runs in check mode.
options: {}
"""

EXAMPLES = r"""
- name: Find GPUs
  nvidia_facts:
"""

RETURN = r"""
ansible_facts:
  description: One dictionary, C(nvidia), under C(ansible_facts).
  returned: always
  type: dict
  sample:
    nvidia:
      gpus: [{address: "0000:00:06.0", device: "0x2335", class: "0x030200", driver: nvidia}]
      switches: 4
      loaded: {version: 580.159.04, open: true}
      on_disk: {version: 580.159.04, signer: ""}
      packages: {nvidia-kernel-open-dkms: 580.159.04-1}
      kernel: 6.12.0-1-amd64
      headers: true
      secure_boot: false
      nouveau: false
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    # modinfo is in a system directory, which some sudo configurations drop.
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    facts = {
        "gpus": system.gpus(),
        "switches": nvidia.switches(),
        "loaded": nvidia.loaded_module(),
        "on_disk": nvidia.module_on_disk(),
        "packages": nvidia.packages(),
        "kernel": os.uname().release,
        "headers": nvidia.has_headers(),
        "secure_boot": nvidia.secure_boot(),
        "nouveau": nvidia.nouveau(),
    }
    module.exit_json(changed=False, ansible_facts={"nvidia": facts})


if __name__ == "__main__":
    main()
