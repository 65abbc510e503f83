"""What makes a cluster of joined nodes: access to it, nodes Ready, the pod network, GPUs that the scheduler counts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llmprov.bundle.lock import BundleLock
from llmprov.cluster import nodes
from llmprov.cluster.apply import apply_set
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.credentials import ControlPlane
from llmprov.cluster.objects import DAEMONSET, NODE, Node
from llmprov.cluster.rollout import Workload, wait_rolled_out
from llmprov.cluster.session import connect
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError
from llmprov.inventory import Host, Inventory
from llmprov.manifests import network
from llmprov.progress import Progress
from llmprov.workflows.references import pinned

NETWORK_SET = "network"
GPU_MODE_LABEL = "llmprov.io/gpu-mode"
_NETWORK_SECONDS = 180.0
_DEVICE_SECONDS = 300.0


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


def wait_nodes(cluster: Cluster, inventory: Inventory, progress: Progress, *, seconds: float = 180.0) -> None:
    """Wait until every host of the inventory that belongs in the cluster is a Ready node."""
    names = {host.name for host in (*inventory.control_plane, *inventory.workers)}
    nodes.wait_nodes_ready(cluster, sorted(names), progress, seconds=seconds)


def apply_network(
    cluster: Cluster, inventory: Inventory, lock: BundleLock, progress: Progress, *, wait: bool = True
) -> int:
    """Apply the pod network.

    Args:
        cluster: where to.
        inventory: says which addresses and which backend.
        lock: the bundle, which pins the image.
        progress: shows what is waited for.
        wait: until it runs on every node; a pod that starts meanwhile is only unreachable from other nodes.

    Returns:
        How many objects changed.
    """
    applied = apply_set(cluster, NETWORK_SET, network.network_objects(network_inputs(inventory, lock)), progress)
    if wait:
        wait_network(cluster, progress)
    return applied.changes


def wait_network(cluster: Cluster, progress: Progress) -> None:
    """Wait until the pod network runs on every node."""
    workload = Workload(
        DAEMONSET, network.NAMESPACE, network.NAME, network.POD_LABELS, _NETWORK_SECONDS, title="pod network"
    )
    wait_rolled_out(cluster, network.NAMESPACE, [workload], progress)


def network_inputs(inventory: Inventory, lock: BundleLock) -> network.NetworkInputs:
    """Turn an inventory into the inputs of the pod network's objects."""
    settings = inventory.settings
    return network.NetworkInputs(
        image=pinned(lock.image("flannel")), pod_cidr=str(settings.pod_cidr), backend=settings.network_backend
    )


def mark_gpus(cluster: Cluster, inventory: Inventory) -> int:
    """Label the GPU workers; where GPUs are simulated, set them as capacity. The scheduler counts them seconds later.

    Returns:
        How many nodes changed.
    """
    settings = inventory.settings
    changed: set[str] = set()
    for host in inventory.gpu_workers:
        if nodes.set_labels(cluster, host.name, {GPU_MODE_LABEL: settings.gpu_mode}):
            changed.add(host.name)
        if settings.gpu_mode == "simulated" and nodes.set_gpu_capacity(
            cluster, host.name, simulated_gpus(host, inventory)
        ):
            changed.add(host.name)
    return len(changed)


def wait_gpus(cluster: Cluster, inventory: Inventory, progress: Progress) -> None:
    """Wait until the scheduler counts GPUs on every GPU worker. Real ones are reported by the device plugin."""
    with progress.step("GPUs", f"{inventory.settings.gpu_mode} on {len(inventory.gpu_workers)} nodes"):
        _wait_gpus(cluster, inventory.gpu_workers)


def simulated_gpus(host: Host, inventory: Inventory) -> int:
    """Return how many GPUs a host pretends to have: its own setting, or the cluster's."""
    own = host.variables.get("cluster_simulated_gpus")
    return own if isinstance(own, int) else inventory.settings.simulated_gpus


def _wait_gpus(cluster: Cluster, workers: Sequence[Host]) -> None:
    wanted = {host.name for host in workers}
    without: set[str] = set()

    def decide(items: Sequence[Object]) -> bool | None:
        found = [Node.model_validate(item) for item in items]
        counted = {node.metadata.name for node in found if int(node.status.allocatable.get(nodes.GPU, "0"))}
        without.clear()
        without.update(wanted - counted)
        return None if without else True

    if watch_until(cluster, Selection(NODE), decide, seconds=_DEVICE_SECONDS) is None:
        raise ClusterError(
            f"no GPUs are counted on {', '.join(sorted(without))}",
            remedy="check the driver (nvidia-smi on the host) and that the device plugin runs there",
        )


def _planes(inventory: Inventory) -> tuple[ControlPlane, ...]:
    first = inventory.settings.first_control_plane
    hosts = sorted(inventory.control_plane, key=lambda host: host.name != first)
    return tuple(ControlPlane(host.name, host.ssh, host.sudo_password) for host in hosts)
