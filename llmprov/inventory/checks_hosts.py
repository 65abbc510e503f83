"""What must hold for hosts and groups, before anybody connects to them."""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence

from llmprov.inventory.findings import Finding
from llmprov.inventory.source import RawHost
from llmprov.inventory.suggest import near
from llmprov.inventory.values import CONTROL_PLANE, GPU_WORKERS, WORKERS, Host

GROUPS = (CONTROL_PLANE, WORKERS, GPU_WORKERS)
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_HOSTNAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")
_LONGEST_NAME = 253
_UNCHECKED = re.compile(
    r"StrictHostKeyChecking[= ]*(no|off|accept-new)|UserKnownHostsFile[= ]*/dev/null", re.IGNORECASE
)


def is_dns_1123(name: str) -> bool:
    """Tell whether a name can be the name of a Kubernetes node (a DNS-1123 subdomain)."""
    return len(name) <= _LONGEST_NAME and bool(_SUBDOMAIN.fullmatch(name))


def check_hosts(raws: Sequence[RawHost], hosts: Sequence[Host]) -> Iterator[Finding]:
    """Check names, addresses, groups and connection settings of every host."""
    places = {raw.name: raw for raw in raws}
    for raw in raws:
        yield from _check_name(raw)
        yield from _check_groups(raw)
    for host in hosts:
        yield from _check_address(host, places[host.name])
        yield from _check_host_keys(host, places[host.name])
    yield from _check_duplicates(hosts, places)


def check_topology(raws: Sequence[RawHost], groups: Iterable[str]) -> Iterator[Finding]:
    """Check that the groups make a cluster."""
    for group in groups:
        slip = near(group.replace("-", "_"), GROUPS)
        if slip and group not in GROUPS:
            yield Finding("unknown group", f"did you mean {slip}?", key=group)
    count = sum(CONTROL_PLANE in raw.groups for raw in raws)
    if count == 0:
        yield Finding(
            "no control plane: the group has no host", "name one host in it, or three or five", key=CONTROL_PLANE
        )
    elif count % 2 == 0:
        yield Finding(
            f"{count} control planes survive no more failures than {count - 1} would: etcd needs a majority",
            "use 1, 3 or 5",
            key=CONTROL_PLANE,
            warning=True,
        )
    if not any(WORKERS in raw.groups or GPU_WORKERS in raw.groups for raw in raws):
        yield Finding("no worker: nothing can serve a model", "name hosts in gpu_workers", key=WORKERS, warning=True)


def _check_name(raw: RawHost) -> Iterator[Finding]:
    if not is_dns_1123(raw.name):
        yield Finding(
            "the host's name is no DNS-1123 name, and it becomes the name of the node",
            "use lower-case letters, digits, hyphens and dots; the address goes into ansible_host",
            raw.place,
            raw.name,
        )


def _check_groups(raw: RawHost) -> Iterator[Finding]:
    if CONTROL_PLANE in raw.groups and WORKERS in raw.groups:
        yield Finding(
            "is in control_plane and in workers",
            "keep it in one: a control plane runs no models, so that a busy engine cannot starve etcd",
            raw.place,
            raw.name,
        )
    if GPU_WORKERS in raw.groups and WORKERS not in raw.groups:
        yield Finding(
            "is in gpu_workers, which is no child of workers",
            "put gpu_workers below `workers: children:`",
            raw.place,
            raw.name,
        )
    if not raw.groups.intersection(GROUPS):
        yield Finding(
            "is in none of the groups control_plane, workers, gpu_workers: llmprov leaves it alone",
            "put it into a group, or take it out of the inventory",
            raw.place,
            raw.name,
            warning=True,
        )


def _check_address(host: Host, raw: RawHost) -> Iterator[Finding]:
    place = raw.places.get("ansible_host", raw.place)
    if "ansible_host" in raw.variables and not raw.variables["ansible_host"]:
        yield Finding(f"host {host.name} has no address", "fill in its IP address or DNS name", place, "ansible_host")
    elif not _HOSTNAME.fullmatch(host.address) and not as_ip(host.address):
        yield Finding(
            f"host {host.name}: is neither an IP address nor a DNS name",
            "give one of the two, without a port",
            place,
            "ansible_host",
            host.address,
        )


def _check_host_keys(host: Host, raw: RawHost) -> Iterator[Finding]:
    for key in ("ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args"):
        if _UNCHECKED.search(str(raw.variables.get(key, ""))):
            yield Finding(
                "turns the check of host keys off",
                "remove the option and accept each host's key once: ssh-keyscan HOST, compare, add to known_hosts",
                raw.places.get(key, raw.place),
                key,
                raw.variables[key],
            )
    for key in ("ansible_host_key_checking", "ansible_ssh_host_key_checking"):
        if str(raw.variables.get(key, "yes")).lower() in {"false", "no", "0", "off"}:
            yield Finding(
                f"turns the check of host keys off for {host.name}",
                "remove the key",
                raw.places.get(key, raw.place),
                key,
                raw.variables[key],
            )


def _check_duplicates(hosts: Sequence[Host], places: dict[str, RawHost]) -> Iterator[Finding]:
    first: dict[tuple[str, int], str] = {}
    for host in hosts:
        # Behind one bastion hosts may share an address and differ in the port; inside the cluster they may not.
        inside = (_normal(host.node_address), 0)
        outside = (_normal(host.address), host.port)
        other = first.get(inside) or first.get(outside)
        raw = places[host.name]
        if other and host.address:
            key = "ansible_host" if first.get(outside) else "cluster_node_address"
            yield Finding(
                f"host {host.name}: duplicate address, {other} has it too",
                "give each host its own address",
                raw.places.get(key, raw.place),
                key,
                host.address if key == "ansible_host" else host.node_address,
            )
        first.setdefault(inside, host.name)
        first.setdefault(outside, host.name)


def _normal(address: str) -> str:
    return str(as_ip(address) or address.lower())


def as_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that a text is, or `None` for a name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
