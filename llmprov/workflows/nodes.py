"""`llmprov node drain` and `uncordon`: a node is emptied without a cut request, and takes pods again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmprov.cluster import drain as drains
from llmprov.cluster import drain_plan, nodes
from llmprov.cluster.client import Cluster
from llmprov.cluster.evict import pods_on
from llmprov.cluster.replicas import Replicas
from llmprov.inventory import Inventory
from llmprov.manifests.model import MODEL_LABEL, NAMESPACE
from llmprov.node_states import Drained, Uncordoned
from llmprov.progress import Progress
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.operating import operating

REPLICAS = Replicas(NAMESPACE, MODEL_LABEL)
SECONDS = 900.0
_MONITORING = "llmprov-monitoring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How nodes are emptied.

    Attributes:
        force: let pods go that belong to no controller.
        drain_first: let replicas stop before others are ready, where there is no room for both.
        seconds: for all nodes together.
    """

    force: bool = False
    drain_first: bool = False
    seconds: float = SECONDS


def drain(inventory: Inventory, names: Sequence[str], options: Options, progress: Progress) -> tuple[Drained, ...]:
    """Empty nodes; they take no new pods until `uncordon`.

    Args:
        inventory: names the cluster.
        names: of the nodes.
        options: see `Options`.
        progress: shows what each pod does.

    Raises:
        ClusterError: a node is not there, a pod would be lost, a replacement cannot start or the time is over.
        ModelError: there is no room for a replica's replacement; nothing was changed.
    """
    with operating(inventory, "node drain", progress) as check, open_cluster(inventory) as cluster:
        return drain_nodes(cluster, names, options, progress, check=check)


def drain_nodes(
    cluster: Cluster, names: Sequence[str], options: Options, progress: Progress, *, check: Callable[[], None]
) -> tuple[Drained, ...]:
    """Empty nodes of an open cluster, as `drain` does; `check` raises when another operator has taken over."""
    with progress.step("plan drain", ", ".join(names)):
        plan = drain_plan.plan(cluster, names, REPLICAS, force=options.force, drain_first=options.drain_first)
    for warning in (*plan.warnings, *_lost_data(cluster, plan.nodes)):
        progress.note(warning)
    return drains.drain(cluster, plan, REPLICAS, progress, seconds=options.seconds, check=check)


def uncordon(
    inventory: Inventory, names: Sequence[str], progress: Progress, *, seconds: float = SECONDS
) -> tuple[Uncordoned, ...]:
    """Let nodes take pods again; replicas that an interrupted drain let go stop once others are ready.

    Raises:
        ClusterError: a node is not there, or the time is over; what is left goes on serving.
    """
    with operating(inventory, "node uncordon", progress) as check, open_cluster(inventory) as cluster:
        changed = {name: nodes.uncordon(cluster, name) for name in dict.fromkeys(names)}
        return tuple(
            Uncordoned(name, was, drains.finish(cluster, name, REPLICAS, progress, seconds=seconds, check=check))
            for name, was in changed.items()
        )


def _lost_data(cluster: Cluster, names: Sequence[str]) -> tuple[str, ...]:
    """Name the nodes that hold what goes with a pod: the metrics of Prometheus."""
    return tuple(
        f"{node}: Prometheus moves away and begins anew; the metrics that it has collected are lost"
        for node in names
        for pod in pods_on(cluster, node)
        if pod.metadata.namespace == _MONITORING
        and pod.metadata.labels.get("app.kubernetes.io/name") == "prometheus"
        and pod.metadata.owner_references
        and not pod.ended
    )
