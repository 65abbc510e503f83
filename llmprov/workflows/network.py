"""Station network: pods reach pods on other nodes."""

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import DAEMONSET
from llmprov.cluster.rollout import Workload, wait_rolled_out
from llmprov.inventory import Inventory
from llmprov.manifests import network
from llmprov.progress import Progress
from llmprov.workflows.object_sets import ObjectSet, apply_sets
from llmprov.workflows.references import pinned

SET = "network"
IMAGES = ("flannel",)
_SECONDS = 180.0


def images(inventory: Inventory, lock: BundleLock) -> tuple[str, ...]:  # noqa: ARG001 - every station's signature
    """Return the names of the bundle's images that the station's pods run."""
    return IMAGES


def sets(api: Cluster, inventory: Inventory, lock: BundleLock) -> tuple[ObjectSet, ...]:  # noqa: ARG001 - every station's signature
    """Return what the station applies."""
    return (ObjectSet(SET, network.network_objects(inputs(inventory, lock))),)


def apply(
    api: Cluster, inventory: Inventory, lock: BundleLock, progress: Progress, *, live: LiveObjects | None = None
) -> int:
    """Apply the pod network.

    Returns:
        How many objects changed.
    """
    return apply_sets(api, sets(api, inventory, lock), progress, live=live).changes


def wait(api: Cluster, inventory: Inventory, progress: Progress) -> None:  # noqa: ARG001 - every station's signature
    """Wait until the pod network runs on every node."""
    workload = Workload(DAEMONSET, network.NAMESPACE, network.NAME, network.POD_LABELS, _SECONDS, title="pod network")
    wait_rolled_out(api, network.NAMESPACE, [workload], progress)


def inputs(inventory: Inventory, lock: BundleLock) -> network.NetworkInputs:
    """Turn an inventory into the inputs of the pod network's objects."""
    settings = inventory.settings
    (name,) = IMAGES
    return network.NetworkInputs(
        image=pinned(lock.image(name)), pod_cidr=str(settings.pod_cidr), backend=settings.network_backend
    )
