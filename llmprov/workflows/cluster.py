"""A cluster of joined nodes: access to it, and its nodes Ready."""

from collections.abc import Iterator
from contextlib import contextmanager

from llmprov.cluster import nodes
from llmprov.cluster.client import Cluster
from llmprov.cluster.credentials import ControlPlane
from llmprov.cluster.session import connect
from llmprov.inventory import Inventory
from llmprov.progress import Progress

READY_SECONDS = 180
"""The default of role kubernetes."""


@contextmanager
def open_cluster(inventory: Inventory, *, patience: float = 60.0) -> Iterator[Cluster]:
    """Open the Kubernetes API of an inventory's cluster, through SSH.

    Args:
        inventory: whose control planes are tried, the first one first.
        patience: seconds to go on trying while the API is away.

    Raises:
        HostConnectionError: no control plane can be logged into.
        ClusterError: there is no cluster yet.
    """
    with connect(_planes(inventory), patience=patience) as cluster:
        yield cluster


def wait_nodes(cluster: Cluster, inventory: Inventory, progress: Progress) -> None:
    """Wait until every host of the inventory that belongs in the cluster is a Ready node."""
    names = {host.name for host in (*inventory.control_plane, *inventory.workers)}
    seconds = float(str(inventory.first_control_plane.variables.get("kubernetes_ready_timeout", READY_SECONDS)))
    nodes.wait_nodes_ready(cluster, sorted(names), progress, seconds=seconds)


def _planes(inventory: Inventory) -> tuple[ControlPlane, ...]:
    first = inventory.settings.first_control_plane
    hosts = sorted(inventory.control_plane, key=lambda host: host.name != first)
    return tuple(ControlPlane(host.name, host.ssh, host.sudo_password) for host in hosts)
