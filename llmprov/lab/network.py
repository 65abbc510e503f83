"""The lab's network: one namespace with a bridge, one namespace per host, and no way out of either.

A namespace is kept by a bind mount on a file of the lab's state directory, not by `ip netns`, which leaves /run/netns
mounted for good on a machine that never had it.
"""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmprov.lab.spec import HostSpec, LabSpec
from llmprov.lab.tools import run

_BRIDGE = "br0"
INTERFACE = "eth0"
_SSH_PORT = 22


def create(spec: LabSpec, directory: Path) -> None:
    """Make the lab's namespace and one per host, as far as they are missing or were left half made."""
    directory.mkdir(parents=True, exist_ok=True)
    bridge = lab_namespace(directory)
    if _make_namespace(bridge) or not _links(bridge, "type", "bridge", "up"):
        _remake(bridge)
        _ip(
            bridge,
            "link set lo up",
            f"link add {_BRIDGE} type bridge",
            f"address add {spec.gateway}/{spec.subnet.prefixlen} dev {_BRIDGE}",
            f"link set {_BRIDGE} up",
        )
    # A port joins the bridge as the last step of connecting a host.
    ports = _links(bridge, "master", _BRIDGE)
    for host in spec.hosts:
        if _make_namespace(namespace(directory, host.name)) or _port(host) not in ports:
            _connect(spec, directory, host)


def destroy(directory: Path) -> None:
    """Remove every namespace of the lab, also of one that was only half made."""
    if not directory.is_dir():
        return
    for file in directory.iterdir():
        _remove_namespace(file)
    directory.rmdir()


def cut(directory: Path, host: HostSpec) -> None:
    """Pull the host's cable."""
    _ip(lab_namespace(directory), f"link set {_port(host)} down")


def heal(directory: Path, host: HostSpec) -> None:
    """Plug the host's cable in again."""
    _ip(lab_namespace(directory), f"link set {_port(host)} up")


def is_cut(directory: Path, host: HostSpec) -> bool:
    """Whether the host's cable is pulled (or was never plugged in)."""
    return _port(host) not in _links(lab_namespace(directory), "up")


def namespace(directory: Path, host: str) -> Path:
    """The file that keeps a host's network namespace."""
    return directory / host


def lab_namespace(directory: Path) -> Path:
    """The file that keeps the namespace with the bridge. No host can be called so: a host name has no dot."""
    return directory / "lab.bridge"


def ssh_answers(directory: Path, host: HostSpec, timeout_s: float = 1.0) -> bool:
    """Whether the host's SSH server says who it is, asked from the bridge's namespace."""
    # Entering a namespace changes the calling thread only, so a thread is spent on it.
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(_ask, lab_namespace(directory), str(host.address), timeout_s).result()


def _ask(bridge: Path, address: str, timeout_s: float) -> bool:
    try:
        with bridge.open("rb") as handle:
            os.setns(handle.fileno(), os.CLONE_NEWNET)
        with socket.create_connection((address, _SSH_PORT), timeout=timeout_s) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _connect(spec: LabSpec, directory: Path, host: HostSpec) -> None:
    inside = namespace(directory, host.name)
    _remake(inside)
    bridge = lab_namespace(directory)
    if _port(host) in _links(bridge):
        _ip(bridge, f"link delete {_port(host)}")
    _ip(bridge, f"link add {_port(host)} type veth peer name {INTERFACE} netns {inside}")
    _ip(
        inside,
        "link set lo up",
        f"address add {host.address}/{spec.subnet.prefixlen} dev {INTERFACE}",
        f"link set {INTERFACE} up",
        f"route add default via {spec.gateway}",
    )
    _ip(bridge, f"link set {_port(host)} master {_BRIDGE} up")


def _port(host: HostSpec) -> str:
    """The bridge's end of the host's cable; interface names are at most 15 characters, so not the host's name."""
    return f"port{str(host.address).rpartition('.')[2]}"


def _make_namespace(file: Path) -> bool:
    """Return whether it had to be made; a file without its mount is what an interrupted start leaves."""
    if _is_namespace(file):
        return False
    file.touch()
    run(["unshare", f"--net={file}", "true"])
    return True


def _remake(file: Path) -> None:
    """Start again with an empty namespace: what a half made one holds is unknown."""
    _remove_namespace(file)
    _make_namespace(file)


def _links(file: Path, *selectors: str) -> set[str]:
    """Names of the interfaces in a namespace."""
    lines = _nsenter(file, ["ip", "-brief", "link", "show", *selectors]).splitlines()
    return {line.split()[0].split("@")[0] for line in lines if line.strip()}


def _is_namespace(file: Path) -> bool:
    """A namespace is a file of the kernel's own file system, so its device differs from the directory's."""
    return file.exists() and file.stat().st_dev != file.parent.stat().st_dev


def _remove_namespace(file: Path) -> None:
    while _is_namespace(file):
        run(["umount", str(file)])
    file.unlink()


def _ip(file: Path, *commands: str) -> None:
    _nsenter(file, ["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")


def _nsenter(file: Path, command: list[str], stdin: str | None = None) -> str:
    return run(["nsenter", f"--net={file}", *command], stdin=stdin)
