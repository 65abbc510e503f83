"""What a host's network looks like from inside: interfaces, addresses, listening ports and names.

Runs on the host's own Python (3.9 or later); the standard library only. Nothing here changes the host.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

_LISTEN = "0A"
_SIOCGIFMTU = 0x8921


def interfaces() -> list[dict[str, object]]:
    """Return every interface with its MTU.

    The kernel is asked, not /sys: in a container that may show the machine's interfaces.
    """
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("16sI12x", name.encode(), 0)
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFMTU, request)
            except OSError:
                continue  # it vanished meanwhile
            found.append({"name": name, "mtu": struct.unpack_from("=I", answer, 16)[0]})
    return found


def listeners(ports: list[int]) -> list[dict[str, object]]:
    """Return which of these TCP ports somebody listens on, and who."""
    inodes = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for fields in _rows(table):
            port = int(fields[1].rsplit(":", 1)[1], 16)
            if fields[3] == _LISTEN and port in ports:
                inodes[fields[9]] = port
    if not inodes:
        return []
    owners = _owners(set(inodes))
    seen: dict[int, dict[str, Any]] = {}
    for inode, port in inodes.items():
        seen.setdefault(port, owners.get(inode, {"pid": 0, "process": "", "unit": ""}))
    return [{"port": port, **owner} for port, owner in sorted(seen.items())]


def _rows(table: str) -> list[list[str]]:
    try:
        lines = Path(table).read_text().splitlines()[1:]
    except OSError:
        return []
    return [line.split() for line in lines]


def _owners(inodes: set[str]) -> dict[str, dict[str, object]]:
    owners = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        for target in _targets(process / "fd"):
            if target.startswith("socket:[") and target[8:-1] in inodes:
                owners[target[8:-1]] = _describe(process)
    return owners


def _targets(directory: Path) -> list[str]:
    targets = []
    try:
        for entry in directory.iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                targets.append(os.readlink(str(entry)))  # noqa: PTH115 - no path, and there are thousands
    except OSError:
        pass  # it ended meanwhile
    return targets


def _describe(process: Path) -> dict[str, object]:
    try:
        name = (process / "comm").read_text().strip()
        groups = (process / "cgroup").read_text().splitlines()
    except OSError:
        name, groups = "", []
    units = [part for line in groups for part in line.split("/") if part.endswith((".service", ".scope"))]
    return {"pid": int(process.name), "process": name, "unit": units[-1] if units else ""}


def resolve(names: list[str], seconds: float) -> dict[str, list[str]]:
    """Return the addresses of each name; none where it does not resolve in time."""
    answers = {}

    def ask(name: str) -> None:
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError:
            found = []
        answers[name] = sorted({str(entry[4][0]) for entry in found})

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {name: list(answers.get(name, [])) for name in names}


def mtu_by_address() -> dict[str, int]:
    """Return for each address of this host the MTU of the interface that has it."""
    by_name = {str(item["name"]): int(str(item["mtu"])) for item in interfaces()}
    return {address: by_name[name] for address, name in _addresses().items() if name in by_name}


def _addresses() -> dict[str, str]:
    """Return the interface of every address of this host, over rtnetlink."""
    found: dict[str, str] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        request = struct.pack("=IHHII", 24, 22, 0x301, 1, 0) + struct.pack("=BBBBI", 0, 0, 0, 0, 0)
        netlink.send(request)
        netlink.settimeout(2)
        while True:
            data = netlink.recv(65536)
            while len(data) >= 16:  # noqa: PLR2004 - nlmsghdr
                length, kind = struct.unpack_from("=IH", data)
                if kind == 3 or length < 16:  # noqa: PLR2004 - NLMSG_DONE
                    return found
                if kind == 20:  # noqa: PLR2004 - RTM_NEWADDR
                    family, _, _, _, index = struct.unpack_from("=BBBBI", data, 16)
                    address = _local_address(family, data[24:length])
                    if address:
                        found[address] = socket.if_indextoname(index)
                data = data[(length + 3) & ~3 :]


def _local_address(family: int, attributes: bytes) -> str:
    found = {}
    while len(attributes) >= 4:  # noqa: PLR2004 - rtattr
        length, kind = struct.unpack_from("=HH", attributes)
        if length < 4:  # noqa: PLR2004 - rtattr
            break
        found[kind] = attributes[4:length]
        attributes = attributes[(length + 3) & ~3 :]
    raw = found.get(2) or found.get(1)  # IFA_LOCAL, IFA_ADDRESS
    return socket.inet_ntop(family, raw) if raw else ""
