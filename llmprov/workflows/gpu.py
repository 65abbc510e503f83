"""Station gpu: nodes labelled, a device plugin on them, and as many GPUs counted as there should be."""

from collections.abc import Mapping, Sequence

from llmprov.bundle.lock import BundleLock
from llmprov.cluster import nodes
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import DAEMONSET, NODE, Node
from llmprov.cluster.rollout import Workload, wait_rolled_out
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError
from llmprov.inventory import Host, Inventory
from llmprov.manifests import device_plugin
from llmprov.manifests.device_plugin import GPU_MODE_LABEL, GPU_RESOURCE
from llmprov.manifests.render import Manifest
from llmprov.progress import Progress
from llmprov.workflows.object_sets import ObjectSet, apply_sets
from llmprov.workflows.references import pinned

SET = "gpu"
# The kubelet reports to the API every two seconds; the plugin's image may have to be pulled first.
_DEVICE_SECONDS = 300.0


def images(inventory: Inventory, lock: BundleLock) -> tuple[str, ...]:  # noqa: ARG001 - every station's signature
    """Return the names of the bundle's images that the station's pods run."""
    return _names(inventory.settings.gpu_mode) if inventory.gpu_workers else ()


def node_labels(inventory: Inventory) -> Mapping[str, Mapping[str, str]]:
    """Return the labels that nodes get, by the node's name."""
    return {host.name: {GPU_MODE_LABEL: inventory.settings.gpu_mode} for host in inventory.gpu_workers}


def sets(api: Cluster, inventory: Inventory, lock: BundleLock) -> tuple[ObjectSet, ...]:  # noqa: ARG001 - every station's signature
    """Return what the station applies besides the labels of nodes."""
    return (ObjectSet(SET, _objects(inventory, lock)),)


def apply(
    api: Cluster, inventory: Inventory, lock: BundleLock, progress: Progress, *, live: LiveObjects | None = None
) -> int:
    """Label the GPU workers and apply the device plugin of the inventory's GPU mode.

    Returns:
        How many nodes and objects changed.
    """
    labelled = [nodes.set_labels(api, name, labels) for name, labels in node_labels(inventory).items()]
    return sum(labelled) + apply_sets(api, sets(api, inventory, lock), progress, live=live).changes


def wait(api: Cluster, inventory: Inventory, progress: Progress) -> None:
    """Wait until the plugin runs on every GPU worker, and each has the GPUs it should have, all of them healthy.

    Raises:
        ClusterError: the plugin cannot run (with its last words), or some node has fewer GPUs; each is named.
    """
    wanted = {host.name: _wanted(host, inventory) for host in inventory.gpu_workers}
    if not wanted:
        return
    mode = inventory.settings.gpu_mode
    workloads = [_workload(name) for name in _names(mode)]
    wait_rolled_out(api, device_plugin.NAMESPACE, workloads, progress)
    with progress.step("GPUs", f"{mode} on {len(wanted)} nodes"):
        _wait(api, wanted)


def simulated_gpus(host: Host, inventory: Inventory) -> int:
    """Return how many GPUs a host pretends to have: its own setting, or the cluster's."""
    own = host.variables.get("cluster_simulated_gpus")
    return own if isinstance(own, int) else inventory.settings.simulated_gpus


def _objects(inventory: Inventory, lock: BundleLock) -> tuple[Manifest, ...]:
    references = [pinned(lock.image(name)) for name in images(inventory, lock)]
    match references:
        case [simulator]:
            return device_plugin.simulator_objects(simulator)
        case [plugin, exporter]:
            return device_plugin.nvidia_objects(plugin, exporter)
        case _:
            return ()


def _names(mode: str) -> tuple[str, ...]:
    """The DaemonSets of a mode; their images in the bundle have the same names."""
    if mode == "simulated":
        return (device_plugin.SIMULATOR,)
    return (device_plugin.DEVICE_PLUGIN, device_plugin.DCGM_EXPORTER)


def _workload(name: str) -> Workload:
    labels = {"app.kubernetes.io/name": name}
    return Workload(DAEMONSET, device_plugin.NAMESPACE, name, labels, _DEVICE_SECONDS, title=name)


def _wanted(host: Host, inventory: Inventory) -> int:
    """How many GPUs a node must have at least; what is really plugged in was checked on the host."""
    return simulated_gpus(host, inventory) if inventory.settings.gpu_mode == "simulated" else 1


def _wait(api: Cluster, wanted: Mapping[str, int]) -> None:
    short: dict[str, str] = {}

    def decide(items: Sequence[Object]) -> bool | None:
        found = {node.metadata.name: node for node in map(Node.model_validate, items)}
        short.clear()
        short.update({name: _shortage(found.get(name), count) for name, count in wanted.items()})
        return None if any(short.values()) else True

    if watch_until(api, Selection(NODE), decide, seconds=_DEVICE_SECONDS) is None:
        lacking = {name: text for name, text in short.items() if text}
        raise ClusterError(
            f"{len(lacking)} of {len(wanted)} nodes lack GPUs after {_DEVICE_SECONDS:.0f} s",
            remedy=f"look at the device plugin: kubectl -n {device_plugin.NAMESPACE} get pods -o wide; on the host: "
            "nvidia-smi, nvidia-ctk cdi list, journalctl -u kubelet",
            details=tuple(f"{name}: {text}" for name, text in sorted(lacking.items())),
        )


def _shortage(node: Node | None, wanted: int) -> str:
    if node is None:
        return "is not in the cluster"
    known, healthy = (int(counts.get(GPU_RESOURCE, "0")) for counts in (node.status.capacity, node.status.allocatable))
    if healthy >= wanted:
        return ""
    if known >= wanted:
        return f"{known - healthy} of {known} GPUs are unhealthy"
    return f"{known} GPUs are counted, {wanted} should be"
