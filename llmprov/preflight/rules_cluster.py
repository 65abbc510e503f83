"""Rules that compare hosts with each other and with the controller."""

from collections import defaultdict
from collections.abc import Callable, Iterator

from llmprov.preflight import needs
from llmprov.preflight.context import Asked, Context, error, warning
from llmprov.preflight.facts import HostFacts
from llmprov.preflight.findings import Finding

_PLACEHOLDERS = frozenset(
    {"", "uninitialized", "00000000-0000-0000-0000-000000000000", "03000200-0400-0500-0006-000700080009"}
)
"""What firmware and images carry before anybody set it."""


def check_identities(context: Context) -> Iterator[Finding]:
    """Check that no two hosts say that they are the same machine."""
    for hosts, value in _shared(context, lambda facts: facts.identity.hostname):
        remedy = "hostnamectl set-hostname NAME on all but one"
        yield error(hosts, "identity", f"share the hostname {value}", remedy)
    for hosts, value in _shared(context, lambda facts: facts.identity.machine_id):
        remedy = "on all but one: rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot"
        yield error(hosts, "identity", f"share the machine-id {value}: they are clones of one disk", remedy)
    for hosts, value in _shared(context, _product_uuid):
        remedy = "give each virtual machine its own UUID in the hypervisor, or the mainboards theirs in the firmware"
        yield error(hosts, "identity", f"share the product_uuid {value}", remedy)
    for name, facts in context.facts.items():
        if facts.identity.machine_id in _PLACEHOLDERS:
            yield error(name, "identity", "has no machine-id", "run systemd-machine-id-setup and reboot")


def check_clocks(context: Context) -> Iterator[Finding]:
    """Check that no clock is certainly off: what the time of asking and answering cannot explain."""
    for name, facts in context.facts.items():
        asked = context.asked.get(name)
        offset = certain_offset(facts, asked) if asked else 0.0
        if abs(offset) <= needs.NOTED_SKEW:
            continue
        direction = "ahead of" if offset > 0 else "behind"
        problem = f"the clock is at least {abs(offset):.0f} s {direction} the controller's"
        service = facts.time_service
        state = f"{service} runs, but the clock is not right" if service else "no time service runs"
        remedy = f"{state}: check `timedatectl` and its servers, on the host and on the controller"
        yield (error if abs(offset) > needs.MOST_SKEW else warning)(name, "time", problem, remedy)


def certain_offset(facts: HostFacts, asked: Asked) -> float:
    """Return by how many seconds a host's clock is surely ahead (positive) or behind (negative); else 0.

    The host was asked after `sent` and had answered before `received`: a clock that says otherwise is not right.
    """
    if facts.ended > asked.received:
        return facts.ended - asked.received
    return min(0.0, facts.started - asked.sent)


def _product_uuid(facts: HostFacts) -> str:
    # Containers show the UUID of the machine that they run on.
    return "" if facts.identity.container else facts.identity.product_uuid


def _shared(context: Context, read: Callable[[HostFacts], str]) -> Iterator[tuple[str, str]]:
    owners: dict[str, list[str]] = defaultdict(list)
    for name, facts in context.facts.items():
        value = read(facts)
        if value not in _PLACEHOLDERS:
            owners[value].append(name)
    for value, names in owners.items():
        if len(names) > 1:
            yield ", ".join(names), value
