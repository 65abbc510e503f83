"""The way from a host to every other one, tried all at once.

Runs on the host's own Python (3.9 or later); the standard library only. Nothing here changes the host.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
import time

_ICMP_ECHO = 8
_ICMP_ECHO_REPLY = 0
_HEADERS = 28  # IPv4 and ICMP
_LARGEST = 65535  # of an IPv4 packet; loopback has a larger MTU
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_PROBE = 3  # sets DF and ignores what the kernel believes the path's MTU to be
_SOL_RAW = 255
_ICMP_FILTER = 1  # a bit for each type that is not to be received
_ATTEMPT_SECONDS = 0.6
_ATTEMPTS = 3
"""At least, however late it is: of a hundred hosts that all ask each other some lose a packet or two."""


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


def reach(targets: list[dict[str, object]], mtus: dict[str, int], seconds: float) -> list[dict[str, object]]:
    """Try every target at once: ICMP small, ICMP as large as the interface allows without fragments, TCP to SSH.

    `mtus` has the MTU for each of this host's own addresses.
    """
    peers = [Peer(str(item["name"]), str(item["address"]), int(str(item["port"]))) for item in targets]
    for peer in peers:
        peer.mtu = mtus.get(peer.source, 0)
    pinger = threading.Thread(target=_ping_all, args=(peers, seconds), daemon=True)
    pinger.start()
    _connect_all(peers, seconds)
    pinger.join(seconds + _ATTEMPTS * _ATTEMPT_SECONDS + 1)
    return [peer.facts() for peer in peers]


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
        # What the others ask would fill the queue that their answers need.
        icmp.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ (1 << _ICMP_ECHO_REPLY)))
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
                self._waiting[2 * index + 1] = (peer, "large", min(peer.mtu, _LARGEST) - _HEADERS)

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        attempts = 0
        while self._waiting and (attempts < _ATTEMPTS or time.monotonic() < deadline):
            for sequence, (peer, _, size) in list(self._waiting.items()):
                self._send(sequence, peer, size)
            self._collect(time.monotonic() + _ATTEMPT_SECONDS)
            attempts += 1

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
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
