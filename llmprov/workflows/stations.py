"""The stations of the road that live in Kubernetes, in the order in which one needs the other.

All are applied before the slow ones are waited for: their images are pulled beside each other, and beside the engine's.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import Applied
from llmprov.cluster.client import Cluster
from llmprov.cluster.live import LiveObjects
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.workflows import autoscaling, gateway, gpu, monitoring, network
from llmprov.workflows.object_sets import ObjectSet


class Apply(Protocol):
    """Applies a station's objects; says how many changed, or which."""

    def __call__(
        self,
        api: Cluster,
        inventory: Inventory,
        lock: BundleLock,
        progress: Progress,
        /,
        *,
        live: LiveObjects | None = None,
    ) -> int | Applied:
        """Apply what is not as it should be."""
        ...


def _no_labels(inventory: Inventory) -> Mapping[str, Mapping[str, str]]:  # noqa: ARG001 - the shape of a station's labels
    return {}


@dataclass(frozen=True)
class Station:
    """One station.

    Attributes:
        stage: its name among the stages.
        images: names of the bundle's images that its pods run.
        sets: what it applies, as data; nothing is changed by asking.
        apply: applies its objects; says how many changed, or which.
        wait: until it works, or an error that names what does not.
        first: whether pods of models need it: it is waited for before they are made.
        on_every_node: whether its pods are one for each node: nodes need not be there when it is applied.
        last: whether objects of models name nothing of it: they are applied before, as engines take long to start.
        node_labels: that it sets, by the node's name.
    """

    stage: str
    images: Callable[[Inventory, BundleLock], tuple[str, ...]]
    sets: Callable[[Cluster, Inventory, BundleLock], tuple[ObjectSet, ...]]
    apply: Apply
    wait: Callable[[Cluster, Inventory, Progress], None]
    first: bool = False
    on_every_node: bool = False
    last: bool = False
    node_labels: Callable[[Inventory], Mapping[str, Mapping[str, str]]] = _no_labels

    def changes(
        self,
        api: Cluster,
        inventory: Inventory,
        lock: BundleLock,
        progress: Progress,
        *,
        live: LiveObjects | None = None,
    ) -> int:
        """Apply; return how many objects changed."""
        applied = self.apply(api, inventory, lock, progress, live=live)
        return applied if isinstance(applied, int) else applied.changes


STATIONS = (
    Station("network", network.images, network.sets, network.apply, network.wait, on_every_node=True),
    # A rollout is planned by the GPUs that the scheduler counts.
    Station(
        "gpu", gpu.images, gpu.sets, gpu.apply, gpu.wait, first=True, on_every_node=True, node_labels=gpu.node_labels
    ),
    Station("gateway", gateway.images, gateway.sets, gateway.apply, gateway.wait),
    Station("autoscaling", autoscaling.images, autoscaling.sets, autoscaling.apply, autoscaling.wait),
    Station("monitoring", monitoring.images, monitoring.sets, monitoring.apply, monitoring.wait, last=True),
)


def stations_of(stages: Collection[str]) -> tuple[Station, ...]:
    """Return the stations among the stages, in order."""
    return tuple(station for station in STATIONS if station.stage in stages)


def station_images(inventory: Inventory, lock: BundleLock, stages: Collection[str]) -> tuple[str, ...]:
    """Return the names of the bundle's images that the stages' pods run, each once."""
    return tuple(dict.fromkeys(name for station in stations_of(stages) for name in station.images(inventory, lock)))
