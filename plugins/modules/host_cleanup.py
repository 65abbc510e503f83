"""Ansible module: end what Kubernetes and containerd left running or configured in the kernel."""

from __future__ import annotations

import ipaddress
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from collections.abc import Callable

    _Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DOCUMENTATION = r"""
module: host_cleanup
short_description: Stop units and pods, and take mounts, interfaces, routes and nftables tables away
description:
  - Undoes what configuration files do not show. Each option names exactly what is taken away; nothing else is touched.
  - Needs no API server and no running containerd, so it also works on a host that is half installed or broken.
options:
  units: {type: list, elements: str, default: [], description: Units to stop and disable.}
  pods: {type: bool, default: false, description: Kill all processes in kubepods control groups; remove the groups.}
  processes: {type: list, elements: path, default: [], description: Executables whose processes are killed.}
  mounts: {type: list, elements: path, default: [], description: Unmount what is below; mounts at the paths stay.}
  interfaces: {type: list, elements: str, default: [], description: Network interfaces to delete.}
  network_namespaces: {type: str, default: "", description: Prefix of the named network namespaces to delete.}
  nft_tables: {type: list, elements: str, default: [], description: nftables tables to delete, in every family.}
  routes_within: {type: str, default: "", description: Delete routes to networks within this one.}
"""

EXAMPLES = r"""
- name: Stop the kubelet and all pods
  host_cleanup:
    units: [kubelet.service]
    pods: true
    mounts: [/var/lib/kubelet]
"""

RETURN = r"""
actions:
  description: What was done, one line each.
  returned: always
  type: list
"""

_CGROUPS = Path("/sys/fs/cgroup")
_NETWORK_NAMESPACES = Path("/run/netns")
_DEADLINE_S = 20.0


class Cleaner:
    """Performs the steps, collecting what was done; in check mode it only collects."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self.actions: list[str] = []

    def _output(self, *command: str) -> str:
        return str(self._module.run_command(list(command))[1])

    def _do(self, description: str, *command: str) -> None:
        self.actions.append(description)
        if self._module.check_mode:
            return
        status, output, errors = self._module.run_command(list(command))
        if status:
            self._module.fail_json(
                msg=f"{description} failed: {errors.strip() or output.strip()}", actions=self.actions
            )

    def stop_units(self, names: list[str]) -> None:
        """Stop and disable units."""
        for name in names:
            state = self._output("systemctl", "show", "--property", "ActiveState", "--value", name).strip()
            if state in ("active", "activating", "reloading", "failed"):
                self._do(f"stop {name}", "systemctl", "stop", name)
            if self._output("systemctl", "is-enabled", name).strip() == "enabled":
                self._do(f"disable {name}", "systemctl", "disable", name)

    def kill(self, description: str, find: Callable[[], set[int]]) -> None:
        """Kill the processes that `find` returns until it returns none."""
        pids = find()
        if not pids:
            return
        self.actions.append(f"kill {len(pids)} {description}")
        if self._module.check_mode:
            return
        deadline = time.monotonic() + _DEADLINE_S
        while pids and time.monotonic() < deadline:
            descriptors = [descriptor for pid in pids if (descriptor := _open_process(pid)) is not None]
            _kill_and_wait(descriptors, deadline)
            pids = find()
        if pids:
            self._module.fail_json(
                msg=f"{description} survive SIGKILL: {sorted(pids)}; see `ps` there, then reboot the host"
            )

    def remove_cgroups(self) -> None:
        """Remove empty kubepods control groups, the innermost first."""
        for root in _pod_cgroups():
            for path in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
                _rmdir(path, check=self._module.check_mode)
            _rmdir(root, check=self._module.check_mode)
            self.actions.append(f"remove control group {root}")

    def unmount(self, prefixes: list[str]) -> None:
        """Unmount what is below the prefixes, the latest mount first."""
        for point in reversed(_mount_points()):
            if any(point.startswith(f"{prefix}/") for prefix in prefixes):
                self._do(f"unmount {point}", "umount", "--lazy", point)

    def delete_namespaces(self, prefix: str) -> None:
        """Delete named network namespaces and with them their ends of veth pairs."""
        if _NETWORK_NAMESPACES.is_dir():
            for path in sorted(_NETWORK_NAMESPACES.glob(f"{prefix}*")):
                self._do(f"delete network namespace {path.name}", "ip", "netns", "delete", path.name)

    def delete_interfaces(self, names: list[str]) -> None:
        """Delete network interfaces."""
        # Not from /sys/class/net: in a container that may show the interfaces of whoever mounted it.
        present = {link["ifname"] for link in json.loads(self._output("ip", "-json", "link", "show") or "[]")}
        for name in names:
            if name in present:
                self._do(f"delete interface {name}", "ip", "link", "delete", name)

    def delete_nft_tables(self, names: list[str]) -> None:
        """Delete nftables tables; without nft on the host they go with the next boot."""
        if not self._module.get_bin_path("nft"):
            return
        listing = json.loads(self._output("nft", "--json", "list", "tables") or '{"nftables": []}')
        tables = (item["table"] for item in listing["nftables"] if "table" in item)
        for table in tables:
            if table["name"] in names:
                label = f"{table['family']} {table['name']}"
                self._do(f"delete nftables table {label}", "nft", "delete", "table", table["family"], table["name"])

    def delete_routes(self, network: str) -> None:
        """Delete routes to networks within one."""
        outer = ipaddress.ip_network(network)
        family = f"-{outer.version}"
        for route in json.loads(self._output("ip", "-json", family, "route", "show") or "[]"):
            if route["dst"] != "default" and _is_within(ipaddress.ip_network(route["dst"]), outer):
                self._do(f"delete route to {route['dst']}", "ip", family, "route", "delete", route["dst"])


def _is_within(inner: _Network, outer: _Network) -> bool:
    """Tell whether a network is a part of another of its own IP version."""
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def _open_process(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _kill_and_wait(descriptors: list[int], deadline: float) -> None:
    """Send SIGKILL and wait on the processes themselves; a pidfd cannot hit another process with the same number."""
    poller = select.poll()
    for descriptor in descriptors:
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            continue
        poller.register(descriptor, select.POLLIN)
    remaining = len(descriptors)
    while remaining > 0 and time.monotonic() < deadline:
        events = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        for descriptor, _ in events:
            poller.unregister(descriptor)
        remaining = remaining - len(events) if events else 0
    for descriptor in descriptors:
        os.close(descriptor)


def _pod_cgroups() -> list[Path]:
    """Return the topmost kubepods groups of every hierarchy: at the root (cgroupfs) or as a slice (systemd)."""
    roots = [_CGROUPS, *(path for path in _CGROUPS.iterdir() if path.is_dir())] if _CGROUPS.is_dir() else []
    return [root / name for root in roots for name in ("kubepods", "kubepods.slice") if (root / name).is_dir()]


def _pod_processes() -> set[int]:
    files = (path for root in _pod_cgroups() for path in root.rglob("cgroup.procs"))
    return {int(line) for path in files for line in path.read_text(encoding="utf-8").split()}


def _processes_of(executables: list[str]) -> set[int]:
    """Return the processes of these executables, also of one that was replaced or deleted since."""
    wanted = {*executables, *(f"{executable} (deleted)" for executable in executables)}
    pids = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                target = str((entry / "exe").readlink())
            except OSError:
                continue
            if target in wanted:
                pids.add(int(entry.name))
    return pids


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [line.split()[4].encode().decode("unicode_escape") for line in lines]


def _rmdir(path: Path, *, check: bool) -> None:
    if not check and path.is_dir():
        path.rmdir()


def main() -> None:
    """Run the module."""
    texts = {"type": "list", "elements": "str", "default": []}
    paths = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "units": texts,
            "pods": {"type": "bool", "default": False},
            "processes": paths,
            "mounts": paths,
            "interfaces": texts,
            "network_namespaces": {"type": "str", "default": ""},
            "nft_tables": texts,
            "routes_within": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    parameters, cleaner = module.params, Cleaner(module)
    cleaner.stop_units(parameters["units"])
    cleaner.kill("processes", lambda: _processes_of(parameters["processes"]))
    if parameters["pods"]:
        cleaner.kill("pod processes", _pod_processes)
        cleaner.remove_cgroups()
    cleaner.unmount(parameters["mounts"])
    if parameters["network_namespaces"]:
        cleaner.delete_namespaces(parameters["network_namespaces"])
    cleaner.delete_interfaces(parameters["interfaces"])
    cleaner.delete_nft_tables(parameters["nft_tables"])
    if parameters["routes_within"]:
        cleaner.delete_routes(parameters["routes_within"])
    module.exit_json(changed=bool(cleaner.actions), actions=cleaner.actions)


if __name__ == "__main__":
    main()
