"""The stations of the road that live in Kubernetes, in the order in which one needs the other.

All are applied before the slow ones are waited for: their images are pulled beside each other, and beside the engine's.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import Applied
from llmprov.cluster.client import Cluster
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.workflows import autoscaling, gateway, gpu, monitoring, network


@dataclass(frozen=True)
class Station:
    """One station.

    Attributes:
        stage: its name among the stages.
        images: names of the bundle's images that its pods run.
        apply: applies its objects; says how many changed, or which.
        wait: until it works, or an error that names what does not.
        first: whether pods of models need it: it is waited for before they are made.
    """

    stage: str
    images: Callable[[Inventory, BundleLock], tuple[str, ...]]
    apply: Callable[[Cluster, Inventory, BundleLock, Progress], int | Applied]
    wait: Callable[[Cluster, Inventory, Progress], None]
    first: bool = False

    def changes(self, api: Cluster, inventory: Inventory, lock: BundleLock, progress: Progress) -> int:
        """Apply; return how many objects changed."""
        applied = self.apply(api, inventory, lock, progress)
        return applied if isinstance(applied, int) else applied.changes


STATIONS = (
    Station("network", network.images, network.apply, network.wait),
    # A rollout is planned by the GPUs that the scheduler counts.
    Station("gpu", gpu.images, gpu.apply, gpu.wait, first=True),
    Station("gateway", gateway.images, gateway.apply, gateway.wait),
    Station("autoscaling", autoscaling.images, autoscaling.apply, autoscaling.wait),
    Station("monitoring", monitoring.images, monitoring.apply, monitoring.wait),
)


def stations_of(stages: Collection[str]) -> tuple[Station, ...]:
    """Return the stations among the stages, in order."""
    return tuple(station for station in STATIONS if station.stage in stages)


def station_images(inventory: Inventory, lock: BundleLock, stages: Collection[str]) -> tuple[str, ...]:
    """Return the names of the bundle's images that the stages' pods run, each once."""
    return tuple(dict.fromkeys(name for station in stations_of(stages) for name in station.images(inventory, lock)))
