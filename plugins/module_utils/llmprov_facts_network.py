"""What a host's network looks like from inside: interfaces, listening ports, and the way to every other host.

Runs on the host's own Python (3.9 or later); the standard library only. Nothing here changes the host.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path

_LISTEN = "0A"
_SIOCGIFMTU = 0x8921
_ICMP_ECHO = 8
_ICMP_ECHO_REPLY = 0
_HEADERS = 28  # IPv4 and ICMP
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_PROBE = 3  # sets DF and ignores what the kernel believes the path's MTU to be
_ATTEMPT_SECONDS = 0.6


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
    seen = {}
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


class Peer:
    """The way to one other host.

    `ping` and `large` are `yes`, `no`, or `unknown` where this host may not or cannot ask.
    """

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.source = self._source()
        self.mtu = 0
        self.ping = self.large = "unknown"
        self.tcp = "unknown"

    def _source(self) -> str:
        with socket.socket(self.family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((self.address, 9))
                return str(probe.getsockname()[0])
            except OSError:
                return ""

    def facts(self) -> dict[str, object]:
        """Return what was found."""
        names = ("name", "address", "source", "mtu", "ping", "large", "tcp")
        return {name: getattr(self, name) for name in names}


def reach(targets: list[dict[str, object]], seconds: float) -> list[dict[str, object]]:
    """Try every target at once: ICMP small, ICMP as large as the interface allows without fragments, TCP to SSH."""
    peers = [Peer(str(item["name"]), str(item["address"]), int(str(item["port"]))) for item in targets]
    mtus = _mtus({peer.source for peer in peers if peer.source})
    for peer in peers:
        peer.mtu = mtus.get(peer.source, 0)
    pinger = threading.Thread(target=_ping_all, args=(peers, seconds), daemon=True)
    pinger.start()
    _connect_all(peers, seconds)
    pinger.join(seconds + 1)
    return [peer.facts() for peer in peers]


def _mtus(sources: set[str]) -> dict[str, int]:
    """Find the MTU of the interface that has each address."""
    by_name = {str(item["name"]): int(str(item["mtu"])) for item in interfaces()}
    by_address = _addresses()
    return {source: by_name[name] for source in sources if (name := by_address.get(source)) in by_name}


def _addresses() -> dict[str, str]:
    """Return the interface of every address of this host, over rtnetlink."""
    found = {}
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


def _connect_all(peers: list[Peer], seconds: float) -> None:
    waiting = {}
    for peer in peers:
        connection = socket.socket(peer.family, socket.SOCK_STREAM)
        connection.settimeout(0)
        status = connection.connect_ex((peer.address, peer.port))
        if status == errno.EINPROGRESS:
            waiting[connection] = peer
        else:
            peer.tcp = _tcp_answer(status)
            connection.close()
    deadline = time.monotonic() + seconds
    while waiting:
        _, ready, _ = select.select([], list(waiting), [], max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        for connection in ready:
            status = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            waiting.pop(connection).tcp = _tcp_answer(status)
            connection.close()
    for connection, peer in waiting.items():
        peer.tcp = "timeout"
        connection.close()


def _tcp_answer(status: int) -> str:
    if status == 0:
        return "open"
    # A refusal comes from the host itself, so the way there works.
    return "refused" if status == errno.ECONNREFUSED else os.strerror(status)


def _ping_all(peers: list[Peer], seconds: float) -> None:
    targets = [peer for peer in peers if peer.family == socket.AF_INET and peer.source]
    try:
        icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except OSError:
        return
    with icmp:
        icmp.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        _Pinger(icmp, targets).run(seconds)


class _Pinger:
    """Sends small and large echo requests to all peers until all have answered or time is up."""

    def __init__(self, icmp: socket.socket, peers: list[Peer]) -> None:
        self._icmp = icmp
        self._identifier = os.getpid() & 0xFFFF
        # The sequence number tells which peer and which size an answer belongs to.
        self._waiting = {}
        for index, peer in enumerate(peers):
            peer.ping = "no"
            self._waiting[2 * index] = (peer, "ping", 56)
            if peer.mtu:
                peer.large = "no"
                self._waiting[2 * index + 1] = (peer, "large", peer.mtu - _HEADERS)

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._waiting and time.monotonic() < deadline:
            for sequence, (peer, _, size) in list(self._waiting.items()):
                self._send(sequence, peer, size)
            self._collect(min(deadline, time.monotonic() + _ATTEMPT_SECONDS))

    def _send(self, sequence: int, peer: Peer, size: int) -> None:
        body = bytes(size)
        header = struct.pack("!BBHHH", _ICMP_ECHO, 0, 0, self._identifier, sequence)
        header = struct.pack("!BBHHH", _ICMP_ECHO, 0, _checksum(header + body), self._identifier, sequence)
        try:
            self._icmp.sendto(header + body, (peer.address, 0))
        except OSError:
            return  # no route, or larger than the interface: no answer will come, which is the finding

    def _collect(self, deadline: float) -> None:
        while self._waiting:
            ready, _, _ = select.select([self._icmp], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return
            packet, sender = self._icmp.recvfrom(65535)
            start = (packet[0] & 0x0F) * 4
            kind, _, _, identifier, sequence = struct.unpack_from("!BBHHH", packet, start)
            waiting = self._waiting.get(sequence)
            ours = kind == _ICMP_ECHO_REPLY and identifier == self._identifier
            if ours and waiting and waiting[0].address == sender[0]:
                setattr(waiting[0], waiting[1], "yes")
                del self._waiting[sequence]


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
