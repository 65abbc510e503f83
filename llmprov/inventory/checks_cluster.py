"""What must hold for the cluster settings: separate networks, one value for all hosts, an API address that survives."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network

from llmprov.inventory.checks_hosts import as_ip, is_dns_1123
from llmprov.inventory.findings import Finding, Place, shown_value
from llmprov.inventory.source import RawHost
from llmprov.inventory.values import CONTROL_PLANE, ClusterSettings, Host

PREFIX = "cluster_"
_PER_HOST = frozenset({"cluster_node_address"})
_LARGEST_SERVICE_NETWORK_BITS = 20
"""kubeadm refuses larger ones: the API server keeps a bitmap of the addresses."""
_NODE_PREFIX = {4: 24, 6: 64}
"""Prefix length of the pod network that each node gets: kube-controller-manager's default."""
type Network = IPv4Network | IPv6Network


def check_settings(settings: ClusterSettings, hosts: Sequence[Host], places: Mapping[str, Place]) -> Iterator[Finding]:
    """Check the settings against each other and against the hosts."""

    def finding(field: str, problem: str, remedy: str, *, warning: bool = False) -> Finding:
        key = PREFIX + field
        value = getattr(settings, field)
        shown = value if isinstance(value, int) else str(value)
        return Finding(problem, remedy, places.get(key, Place()), key, shown, warning=warning)

    for field in ("name", "dns_domain"):
        if not is_dns_1123(getattr(settings, field)):
            yield finding(field, "is no DNS-1123 name", "use lower-case letters, digits, hyphens and dots")
    if settings.first_control_plane not in {host.name for host in hosts if CONTROL_PLANE in host.groups}:
        yield finding("first_control_plane", "is no host of control_plane", "name one of its hosts, or remove the key")
    if settings.pod_cidr.overlaps(settings.service_cidr):
        yield finding("pod_cidr", f"overlaps cluster_service_cidr {settings.service_cidr}", "choose separate networks")
    for field, network in (("pod_cidr", settings.pod_cidr), ("service_cidr", settings.service_cidr)):
        if inside := _addresses_in(network, settings, hosts):
            yield finding(field, f"overlaps the address of {', '.join(inside)}", "choose a network that no host is in")
        if other := _other_family(network, hosts):
            problem = f"is IPv{network.version}, and the address of {', '.join(other)} is not"
            yield finding(field, problem, "use one address family for hosts, pods and services")
    bits = settings.service_cidr.max_prefixlen - settings.service_cidr.prefixlen
    if bits > _LARGEST_SERVICE_NETWORK_BITS:
        smallest = settings.service_cidr.max_prefixlen - _LARGEST_SERVICE_NETWORK_BITS
        yield finding("service_cidr", "is larger than Kubernetes allows", f"use /{smallest} or smaller, such as /16")
    yield from _check_room(settings, hosts, finding("pod_cidr", "", ""))
    yield from _check_api_host(settings, hosts, finding("api_host", "", ""))


def check_same_everywhere(raws: Sequence[RawHost]) -> Iterator[Finding]:
    """Check that no cluster setting differs between hosts: a cluster has one value of each."""
    first: dict[str, RawHost] = {}
    reported: set[str] = set()
    for raw in raws:
        for key, value in raw.variables.items():
            if not key.startswith(PREFIX) or key in _PER_HOST:
                continue
            owner = first.setdefault(key, raw)
            if owner.variables[key] != value and key not in reported:
                reported.add(key)
                yield Finding(
                    f"differs between hosts: {_has(owner, key)}, {_has(raw, key)}",
                    "set it once, in group_vars/all.yml",
                    raw.places.get(key, raw.place),
                    key,
                )


def _has(raw: RawHost, key: str) -> str:
    return f"{raw.name} has {shown_value(key, raw.variables[key], raw.places.get(key, raw.place))}"


def _addresses_in(network: Network, settings: ClusterSettings, hosts: Sequence[Host]) -> list[str]:
    named = [*((host.name, host.node_address) for host in hosts), ("cluster_api_host", settings.api_host)]
    inside = []
    for name, address in named:
        parsed = as_ip(address)
        if parsed is not None and parsed.version == network.version and parsed in network:
            inside.append(f"{name} ({address})")
    return inside


def _other_family(network: Network, hosts: Sequence[Host]) -> list[str]:
    parsed = [(host.name, as_ip(host.node_address)) for host in hosts]
    return [name for name, address in parsed if address is not None and address.version != network.version]


def _check_room(settings: ClusterSettings, hosts: Sequence[Host], template: Finding) -> Iterator[Finding]:
    node_prefix = _NODE_PREFIX[settings.pod_cidr.version]
    room = 2 ** max(0, node_prefix - settings.pod_cidr.prefixlen) if settings.pod_cidr.prefixlen <= node_prefix else 0
    if room < len(hosts):
        problem = f"has room for {room} nodes, a /{node_prefix} each; the inventory has {len(hosts)}"
        yield Finding(problem, "choose a larger network", template.place, template.key, template.value)


def _check_api_host(settings: ClusterSettings, hosts: Sequence[Host], template: Finding) -> Iterator[Finding]:
    control_plane = [host for host in hosts if CONTROL_PLANE in host.groups]
    if len(control_plane) > 1 and settings.api_host in {host.node_address for host in control_plane}:
        yield Finding(
            "is the address of one host: when it fails, the API is gone although other control planes run",
            "set it to a virtual address or load balancer in front of all control planes",
            template.place,
            template.key,
            template.value,
            warning=True,
        )
    if any(settings.api_host == host.node_address for host in hosts if CONTROL_PLANE not in host.groups):
        yield Finding(
            "is the address of a host that runs no control plane",
            "use a control plane's address, or a virtual one",
            template.place,
            template.key,
            template.value,
        )
