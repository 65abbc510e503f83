"""Ansible module: apply sysctls, kernel modules and swap to the running kernel."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kernel_settings
short_description: Bring the running kernel to the wanted sysctls, modules and swap
description:
  - Compares the running kernel with what is wanted and changes what differs. What must survive a reboot is written by
    the caller into /etc/sysctl.d and /etc/modules-load.d.
  - A kernel without loadable modules (no /proc/modules) has everything built in or not at all; nothing is loaded there.
options:
  sysctls: {type: dict, default: {}, description: Name and value of each sysctl.}
  modules: {type: list, elements: str, default: [], description: Names of kernel modules.}
  swap_off: {type: bool, default: false, description: Turn off all swap.}
"""

EXAMPLES = r"""
- name: Apply kernel settings
  kernel_settings:
    sysctls: {net.ipv4.ip_forward: 1}
    modules: [br_netfilter]
    swap_off: true
"""

RETURN = r"""
changes:
  description: One line for each difference that was found.
  returned: always
  type: list
"""


def _sysctl_path(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def _ensure_modules(module: AnsibleModule, names: list[str]) -> list[str]:
    if not Path("/proc/modules").exists():
        return []
    missing = [name for name in names if not (Path("/sys/module") / name).exists()]
    if missing and not module.check_mode:
        status, _, errors = module.run_command([module.get_bin_path("modprobe", required=True), "--all", *missing])
        if status:
            module.fail_json(
                msg=f"cannot load kernel modules {', '.join(missing)}: {errors.strip()}; "
                "install the kernel's module package or take them out of base_kernel_modules"
            )
    loaded = [name for name in missing if module.check_mode or (Path("/sys/module") / name).exists()]
    # A module built into the kernel without parameters has no /sys/module entry, and modprobe says nothing about it.
    return [f"module {name} loaded" for name in loaded]


def _ensure_sysctls(module: AnsibleModule, wanted: dict[str, object]) -> list[str]:
    changes = []
    for name, value in wanted.items():
        path, text = _sysctl_path(name), str(value)
        if not path.exists():
            if not module.check_mode:
                module.fail_json(
                    msg=f"this kernel has no sysctl {name}; load the module that brings it, "
                    "or take it out of base_sysctls"
                )
            changes.append(f"{name}: would appear with its module")
            continue
        current = " ".join(path.read_text(encoding="utf-8").split())
        if current == " ".join(text.split()):
            continue
        changes.append(f"{name}: {current} -> {text}")
        if not module.check_mode:
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                module.fail_json(msg=f"cannot set sysctl {name}={text}: {error}")
    return changes


def _active_swaps() -> list[str]:
    table = Path("/proc/swaps")
    lines = table.read_text(encoding="utf-8").splitlines()[1:] if table.exists() else []
    return [line.split()[0] for line in lines if line.strip()]


def _ensure_no_swap(module: AnsibleModule) -> list[str]:
    active = _active_swaps()
    if active and not module.check_mode:
        _, _, errors = module.run_command([module.get_bin_path("swapoff", required=True), "--all"])
        if left := _active_swaps():
            module.fail_json(
                msg=f"swap cannot be turned off: {', '.join(left)}: {errors.strip()}; "
                "free memory or remove the swap device, then run again"
            )
    return [f"swap {device} off" for device in active]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "sysctls": {"type": "dict", "default": {}},
            "modules": {"type": "list", "elements": "str", "default": []},
            "swap_off": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    changes = _ensure_modules(module, module.params["modules"])
    changes += _ensure_sysctls(module, module.params["sysctls"])
    if module.params["swap_off"]:
        changes += _ensure_no_swap(module)
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
