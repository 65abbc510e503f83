"""Rules about the ways between hosts."""

from collections import defaultdict
from collections.abc import Iterator

from llmprov.inventory import Host
from llmprov.preflight.context import Context, error, warning
from llmprov.preflight.facts import HostFacts, PeerFacts
from llmprov.preflight.findings import Finding

_SMALLEST_MTU = 1280
_VXLAN_HEADER = 50


def check_peers(host: Host, facts: HostFacts, context: Context) -> Iterator[Finding]:
    """Check that the host reaches every other one, with packets of full size."""
    known = [peer for peer in facts.peers if peer.name in context.facts]
    unreached = [peer for peer in known if not peer.reached]
    if unreached:
        names = ", ".join(f"{peer.name} ({_why(peer)})" for peer in unreached)
        remedy = "check routes, VLANs, switches and firewalls between these hosts"
        yield error(host, "network", f"does not reach {names}", remedy)
    narrow = [peer for peer in known if peer.reached and peer.ping == "yes" and peer.large == "no"]
    if narrow:
        names = ", ".join(f"{peer.name} ({peer.mtu} bytes)" for peer in narrow)
        yield error(
            host,
            "mtu",
            f"packets as large as its MTU do not get through to {names}",
            "set the same MTU on both hosts and on every switch between them",
        )


def check_names(host: Host, facts: HostFacts, _context: Context) -> Iterator[Finding]:
    """Check that the host resolves the DNS names that the inventory uses as addresses."""
    for name, addresses in facts.names.items():
        if not addresses:
            yield error(host, "names", f"does not resolve {name}", "add it to DNS or /etc/hosts, or use its IP address")


def check_firewall(host: Host, facts: HostFacts, _context: Context) -> Iterator[Finding]:
    """Check for host firewalls, which would drop pod traffic."""
    for name in facts.firewalls:
        yield warning(
            host,
            "firewall",
            f"{name} is on, and may drop traffic of nodes and pods",
            f"turn it off, or open the ports of docs/preflight.md in {name}",
        )


def check_mtus(context: Context) -> Iterator[Finding]:
    """Check that all hosts use one MTU towards each other."""
    by_mtu: dict[int, list[str]] = defaultdict(list)
    for name, facts in context.facts.items():
        for mtu in {peer.mtu for peer in facts.peers if peer.mtu}:
            by_mtu[mtu].append(name)
    if len(by_mtu) > 1:
        seen = "; ".join(f"{mtu}: {', '.join(sorted(names))}" for mtu, names in sorted(by_mtu.items()))
        problem = f"the MTU differs between hosts ({seen})"
        yield error("", "mtu", problem, "set one MTU on all interfaces that carry cluster traffic")
    headroom = _VXLAN_HEADER if context.inventory.settings.network_backend == "vxlan" else 0
    for mtu, names in by_mtu.items():
        if mtu - headroom < _SMALLEST_MTU:
            yield error(
                ", ".join(sorted(names)), "mtu", f"the MTU {mtu} is too small for pods", "set it to 1500 or more"
            )


def _why(peer: PeerFacts) -> str:
    if not peer.source:
        return f"{peer.address}: no route"
    return f"{peer.address}: no ICMP answer, TCP {peer.tcp}"
