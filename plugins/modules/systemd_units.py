"""Ansible module: bring several systemd units to their state in one call, restarting those that run with old files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: systemd_units
short_description: Enable, start, restart, stop and mask systemd units
description:
  - Reloads systemd when it says that a unit file changed, enables, starts or stops units.
  - A running unit is restarted when one of its O(units[].restart_on) files is newer than its main process. Unlike a
    handler this also holds when an earlier run was interrupted between writing the file and restarting the unit.
  - In check mode a unit that does not exist yet counts as a change, not as a failure.
options:
  units:
    description: The units, in the order in which they are brought up.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {type: str, required: true, description: Full unit name.}
      enabled: {type: bool, description: Start at boot; left alone when absent.}
      state: {type: str, choices: [started, stopped], description: Running or not; left alone when absent.}
      masked: {type: bool, description: Masked or not; left alone when absent.}
      restart_on: {type: list, elements: path, default: [], description: Files the unit reads at its start.}
      wait: {type: bool, default: true, description: Wait until the start job is done.}
"""

EXAMPLES = r"""
- name: Run containerd
  systemd_units:
    units:
      - name: containerd.service
        enabled: true
        state: started
        restart_on: [/etc/containerd/config.toml, /usr/local/bin/containerd]
"""

RETURN = r"""
actions:
  description: The systemctl verbs that were (or would be) run, one line each.
  returned: always
  type: list
"""

_OPTIONS = {
    "name": {"type": "str", "required": True},
    "enabled": {"type": "bool"},
    "state": {"type": "str", "choices": ["started", "stopped"]},
    "masked": {"type": "bool"},
    "restart_on": {"type": "list", "elements": "path", "default": []},
    "wait": {"type": "bool", "default": True},
}
_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,FragmentPath,ExecMainStartTimestampMonotonic,"
    "ActiveEnterTimestampMonotonic"
)


class Systemd:
    """The host's service manager, and what was done to it."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._systemctl = module.get_bin_path("systemctl", required=True)
        self.actions: list[str] = []

    def show(self, name: str) -> dict[str, str]:
        """Return the properties of one unit."""
        _, output, _ = self._module.run_command([self._systemctl, "show", "--property", _PROPERTIES, "--", name])
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def do(self, *verb: str) -> None:
        """Run one systemctl verb, unless in check mode."""
        self.actions.append(" ".join(verb))
        if self._module.check_mode:
            return
        status, output, errors = self._module.run_command([self._systemctl, *verb])
        if status:
            journal = self._journal(verb[-1])
            self._module.fail_json(
                msg=f"systemctl {' '.join(verb)} failed: {errors.strip() or output.strip()}; "
                f"see `journalctl -u {verb[-1]}`",
                journal=journal,
            )

    def _journal(self, name: str) -> list[str]:
        command = ["journalctl", "--no-pager", "--lines", "20", "--output", "cat", "--unit", name]
        return str(self._module.run_command(command)[1]).splitlines()


def _is_outdated(properties: dict[str, str], files: list[str]) -> bool:
    """Say whether a file was written after the unit's main process started; a path unit has none, only its start."""
    started = properties.get("ExecMainStartTimestampMonotonic") or properties.get("ActiveEnterTimestampMonotonic")
    started_monotonic = int(started or 0) / 1e6
    boot = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
    return any(Path(path).exists() and Path(path).stat().st_mtime > boot + started_monotonic for path in files)


def _ensure_unit(systemd: Systemd, spec: dict[str, Any]) -> None:
    name = spec["name"]
    properties = systemd.show(name)
    file_state = properties.get("UnitFileState", "")
    masked = properties.get("LoadState") == "masked"
    if spec["masked"] is not None and spec["masked"] != masked:
        systemd.do("mask" if spec["masked"] else "unmask", name)
    if properties.get("LoadState") == "not-found" and (spec["state"] == "stopped" or spec["enabled"] is False):
        return
    if spec["enabled"] is True and file_state not in ("enabled", "enabled-runtime", "static", "alias"):
        systemd.do("enable", name)
    if spec["enabled"] is False and file_state in ("enabled", "enabled-runtime"):
        systemd.do("disable", name)
    _ensure_state(systemd, spec, properties)


def _is_running(spec: dict[str, Any], properties: dict[str, str]) -> bool:
    """Say whether a unit is up. One that fails and tries again is not, unless nobody waits for its end."""
    state = properties.get("ActiveState")
    retrying = properties.get("SubState") == "auto-restart"
    return state in ("active", "reloading") or (state == "activating" and not (retrying and spec["wait"]))


def _ensure_state(systemd: Systemd, spec: dict[str, Any], properties: dict[str, str]) -> None:
    active = _is_running(spec, properties)
    options = [] if spec["wait"] else ["--no-block"]
    if spec["state"] == "stopped":
        if properties.get("ActiveState") not in ("inactive", None):
            systemd.do("stop", spec["name"])
        return
    if active and _is_outdated(properties, [*spec["restart_on"], properties.get("FragmentPath") or "/nonexistent"]):
        systemd.do("restart", *options, spec["name"])
    elif spec["state"] == "started" and not active:
        if properties.get("ActiveState") == "failed":
            systemd.do("reset-failed", spec["name"])
        systemd.do("start", *options, spec["name"])


def _needs_reload(spec: dict[str, Any], properties: dict[str, str]) -> bool:
    """Say whether systemd has an old view of a unit: changed, or not there when it last looked."""
    wanted = spec["state"] == "started" or spec["enabled"] is True
    return properties.get("NeedDaemonReload") == "yes" or (
        wanted and properties.get("LoadState") not in ("loaded", "masked")
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"units": {"type": "list", "elements": "dict", "required": True, "options": _OPTIONS}},
        supports_check_mode=True,
    )
    systemd = Systemd(module)
    units = module.params["units"]
    if any(_needs_reload(spec, systemd.show(spec["name"])) for spec in units):
        systemd.do("daemon-reload")
    for spec in units:
        _ensure_unit(systemd, spec)
    module.exit_json(changed=bool(systemd.actions), actions=systemd.actions)


if __name__ == "__main__":
    main()
