"""What an install would do in Kubernetes, and what does not work there now; nothing is changed, nothing waited for."""

from collections.abc import Collection, Iterator, Mapping

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import DAEMONSET, DEPLOYMENT, NODE, Header, Node
from llmprov.cluster.plan import plan_set
from llmprov.cluster.workloads import DaemonSet, Deployment
from llmprov.inventory import Inventory
from llmprov.plans import FieldChange, ObjectAction, ObjectPlan, Trouble
from llmprov.progress import Progress
from llmprov.workflows import models
from llmprov.workflows.object_sets import ObjectSet
from llmprov.workflows.stations import stations_of

MODELS = "models"
_NODES_STAGE = "kubernetes"
_WORKLOADS = frozenset({DEPLOYMENT, DAEMONSET})

type Sets = Mapping[str, tuple[ObjectSet, ...]]
"""Sets of objects by the stage that brings them."""


def plan_objects(
    cluster: Cluster,
    inventory: Inventory,
    lock: BundleLock,
    stages: Collection[str],
    progress: Progress,
    *,
    live: LiveObjects | None = None,
) -> tuple[tuple[ObjectPlan, ...], tuple[Trouble, ...]]:
    """Compare the cluster's objects with those that an install would apply.

    Args:
        cluster: which.
        inventory: what should be.
        lock: pins the images.
        stages: names of wanted stages; those that live in Kubernetes are looked at.
        progress: shows what is compared.
        live: what was there a moment ago; None to look now.

    Returns:
        What would be done, in that order; and nodes and workloads that are not ready, whatever would be done.

    Raises:
        ClusterError: the API would refuse objects.
        BundleError: the bundle lacks something.
        InventoryError: a setting cannot be used.
        ModelError: a model's image is nowhere.
    """
    with progress.step("compare objects") as step:
        live = live or LiveObjects.read(cluster)
        nodes = {node.metadata.name: node for node in map(Node.model_validate, cluster.list(NODE).items)}
        plans: list[ObjectPlan] = []
        sets = wanted_sets(cluster, inventory, lock, stages)
        for station in stations_of(stages):
            plans += _labels(station.stage, station.node_labels(inventory), nodes)
        for stage, members in sets.items():
            step.update(stage)
            for item in members:
                plans += plan_set(cluster, stage, item.name, item.objects, live)
        order = [station.stage for station in stations_of(stages)] + [MODELS]
        plans.sort(key=lambda plan: order.index(plan.stage))
        step.update(f"{len(live.objects)} objects")
    return tuple(plans), (*_not_ready(inventory, nodes), *_not_rolled_out(cluster, sets))


def wanted_sets(cluster: Cluster, inventory: Inventory, lock: BundleLock, stages: Collection[str]) -> Sets:
    """Return every set of the wanted stages, in the order in which an install applies them."""
    sets = {station.stage: station.sets(cluster, inventory, lock) for station in stations_of(stages)}
    if MODELS in stages:
        sets[MODELS] = models.sets(cluster, inventory, lock, stages)
    return sets


def _labels(stage: str, wanted: Mapping[str, Mapping[str, str]], nodes: Mapping[str, Node]) -> Iterator[ObjectPlan]:
    """Labels of nodes that are there; one that is not gets them once it is."""
    for name, labels in wanted.items():
        present = nodes[name].metadata.labels if name in nodes else labels
        changes = tuple(
            FieldChange(f"metadata.labels.{key}", present.get(key), value)
            for key, value in labels.items()
            if present.get(key) != value
        )
        if changes:
            yield ObjectPlan(stage, ObjectAction.UPDATE, f"Node {name}", changes)


def _not_ready(inventory: Inventory, nodes: Mapping[str, Node]) -> Iterator[Trouble]:
    names = dict.fromkeys(host.name for host in (*inventory.control_plane, *inventory.workers))
    for name in names:
        if name not in nodes:
            yield Trouble(_NODES_STAGE, f"Node {name} is not in the cluster")
        elif not nodes[name].status.holds("Ready"):
            condition = nodes[name].status.condition("Ready")
            why = f"{condition.reason}: {condition.message}" if condition else "its kubelet has not reported yet"
            yield Trouble(_NODES_STAGE, f"Node {name} is not Ready: {why}")


def _not_rolled_out(cluster: Cluster, sets: Sets) -> Iterator[Trouble]:
    """Workloads in the stations' namespaces, those that controllers made there included."""
    stages = {
        header.metadata.namespace: stage
        for stage, members in sets.items()
        for header in _headers(members)
        if header.resource in _WORKLOADS
    }
    for item in cluster.list(DEPLOYMENT).items:
        yield from _trouble(Deployment.model_validate(item), stages)
    for item in cluster.list(DAEMONSET).items:
        yield from _trouble(DaemonSet.model_validate(item), stages)


def _headers(members: Collection[ObjectSet]) -> Iterator[Header]:
    return (Header.model_validate(item) for member in members for item in member.objects)


def _trouble(item: Deployment | DaemonSet, stages: Mapping[str, str]) -> Iterator[Trouble]:
    stage = stages.get(item.metadata.namespace)
    idle = item.observed and not item.wanted and isinstance(item, DaemonSet)
    if stage is None or item.rolled_out or idle:
        return
    status = item.status
    available = status.number_available if isinstance(item, DaemonSet) else status.available_replicas
    yield Trouble(stage, f"{item.label}: {available} of {item.wanted} replicas are available and up to date")
