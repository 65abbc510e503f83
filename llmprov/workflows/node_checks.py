"""What a host's removal must not break: the registry, the last control plane, etcd's majority. Pure functions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from llmprov.cluster.nodes import NodeState
from llmprov.errors import ClusterError, InventoryError, joined
from llmprov.inventory import Host, Inventory
from llmprov.inventory.suggest import remedy_for


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be removed: a host of the inventory, a node of the cluster, or both."""

    name: str
    host: Host | None
    node: NodeState | None
    control_plane: bool


@dataclass(frozen=True, slots=True)
class Votes:
    """The members of etcd by name, and those of them that are healthy."""

    members: frozenset[str] = frozenset()
    healthy: frozenset[str] = frozenset()

    def without(self, names: Collection[str]) -> "Votes":
        """Return what is left once these are no members any more."""
        return Votes(self.members - set(names), self.healthy - set(names))

    @property
    def needed(self) -> int:
        """How many members must be healthy."""
        return len(self.members) // 2 + 1


def find_targets(inventory: Inventory, nodes: Sequence[NodeState], names: Sequence[str]) -> tuple[Target, ...]:
    """Look hosts up in the inventory and in the cluster.

    Raises:
        InventoryError: neither knows one of them.
    """
    hosts = {host.name: host for host in inventory.hosts}
    states = {node.name: node for node in nodes}
    errors = [
        InventoryError(
            f"neither the inventory nor the cluster has a host {name!r}",
            remedy=remedy_for(name, {*hosts, *states}, f"there are: {', '.join(sorted({*hosts, *states}))}"),
        )
        for name in names
        if name not in hosts and name not in states
    ]
    if errors:
        raise joined(InventoryError, f"{len(errors)} hosts are unknown; nothing was changed", errors)
    planes = {host.name for host in inventory.control_plane} | {node.name for node in nodes if node.control_plane}
    return tuple(Target(name, hosts.get(name), states.get(name), name in planes) for name in dict.fromkeys(names))


def declared(inventory: Inventory, names: Sequence[str]) -> tuple[Host, ...]:
    """Return hosts of the inventory by their names.

    Raises:
        InventoryError: it has no such host, or one that is in neither group.
    """
    members = {host.name: host for host in (*inventory.control_plane, *inventory.workers)}
    unknown = [name for name in names if name not in members]
    if unknown:
        otherwise = f"add it to control_plane or workers of {inventory.path} first, then run the same command again"
        raise InventoryError(
            f"the inventory has no host {', '.join(map(repr, unknown))} to be a node; nothing was changed",
            remedy=remedy_for(unknown[0], members, otherwise),
        )
    return tuple(members[name] for name in dict.fromkeys(names))


def check_planes(targets: Sequence[Target], first: str, nodes: Sequence[NodeState]) -> None:
    """Refuse to take the registry away, or the last control plane.

    Raises:
        ClusterError: nothing was changed.
    """
    names = {target.name for target in targets}
    if first in names:
        raise ClusterError(
            f"{first} is the first control plane: it carries the cluster's registry; nothing was changed",
            remedy=(
                "the cluster cannot do without it; to build it anew elsewhere: `llmprov reset`, "
                "name another host in cluster_first_control_plane, `llmprov install`"
            ),
        )
    planes = {node.name for node in nodes if node.control_plane}
    if planes & names and not planes - names:
        raise ClusterError(
            f"{', '.join(sorted(planes & names))}: no control plane would be left; nothing was changed",
            remedy="add another control plane first, or end the cluster with `llmprov reset`",
        )


def check_votes(targets: Sequence[Target], votes: Votes) -> None:
    """Refuse to break etcd's majority.

    Raises:
        ClusterError: with the numbers; nothing was changed.
    """
    after = votes.without([target.name for target in targets])
    if after.members == votes.members or len(after.healthy) >= after.needed:
        return
    sick = ", ".join(sorted(after.members - after.healthy))
    raise ClusterError(
        f"etcd would have {len(after.members)} members, {len(after.healthy)} of them healthy, "
        f"and needs {after.needed}; nothing was changed",
        remedy=f"bring back first: {sick}; or remove one that is dead with --force",
    )
