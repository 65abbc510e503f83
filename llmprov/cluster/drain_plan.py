"""What emptying nodes takes: decided before anything changes, and refused when something would be lost."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmprov.cluster.client import Cluster
from llmprov.cluster.nodes import GPU
from llmprov.cluster.objects import NODE, POD, Node, Pod
from llmprov.cluster.replicas import Replicas, let_go_at
from llmprov.cluster.room import Room, quantity, rooms
from llmprov.errors import ClusterError, ModelError

_MIRROR = "kubernetes.io/config.mirror"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done.

    Attributes:
        nodes: to be emptied, in this order.
        known: UIDs of all pods that were there before.
        evicted: UIDs of replicas that stop before another is ready, as there is no room for one.
        warnings: what a client will notice, one line a model.
    """

    nodes: tuple[str, ...]
    known: frozenset[str]
    evicted: frozenset[str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Size:
    gpus: int
    memory: int


def plan(cluster: Cluster, nodes: Sequence[str], replicas: Replicas, *, force: bool, drain_first: bool) -> Plan:
    """Look at the nodes' pods and at the room elsewhere; nothing is changed.

    Args:
        cluster: where.
        nodes: that are to be emptied together: none of them takes what another loses.
        replicas: which pods are replaced before they go.
        force: let pods go that nobody makes again.
        drain_first: let replicas stop first where there is no room for another.

    Raises:
        ClusterError: a node is not there or not Ready, or pods would be lost.
        ModelError: there is no room for a replica's replacement; the details count every node's.
    """
    names = tuple(dict.fromkeys(nodes))
    _check_nodes(cluster, names)
    pods = [Pod.model_validate(item) for item in cluster.list(POD).items]
    leaving = [pod for pod in pods if pod.spec.node_name in names and not stays(pod)]
    if not force:
        _check_owners(leaving)
    moving = [pod for pod in leaving if replicas.owned(pod) and pod.ready]
    free = {room.node: room for room in rooms(cluster) if room.node not in names}
    waiting = [pod for pod in pods if replicas.owned(pod) and not pod.spec.node_name and not pod.ended]
    _place(free, waiting)
    before = tuple(free.values())
    homeless = _place(free, moving)
    if homeless and not drain_first:
        raise _no_room(homeless, before, replicas)
    return Plan(
        names,
        frozenset(pod.metadata.uid for pod in pods),
        frozenset(pod.metadata.uid for pod in homeless),
        tuple(_warning(model, homeless, pods, replicas) for model in _models(homeless, replicas)),
    )


def stays(pod: Pod) -> bool:
    """Whether a pod belongs to its node: of a DaemonSet, or the kubelet's own (a static pod)."""
    return _MIRROR in pod.metadata.annotations or any(o.kind == "DaemonSet" for o in pod.metadata.owner_references)


def _check_nodes(cluster: Cluster, names: Sequence[str]) -> None:
    found = {node.metadata.name: node for node in map(Node.model_validate, cluster.list(NODE).items)}
    missing = [name for name in names if name not in found]
    if missing:
        raise ClusterError(
            f"there is no node {', '.join(missing)} in the cluster", remedy=f"there are: {', '.join(sorted(found))}"
        )
    away = [name for name in names if not found[name].status.holds("Ready")]
    if away:
        raise ClusterError(
            f"{', '.join(away)}: not Ready, so its pods cannot be asked to stop; nothing was changed",
            remedy="bring it back, or, when it is dead: llmprov node remove HOST --force",
        )


def _check_owners(pods: Sequence[Pod]) -> None:
    lost = [pod for pod in pods if not pod.metadata.owner_references and not pod.ended and let_go_at(pod) is None]
    lost = [pod for pod in lost if pod.metadata.deletion_timestamp is None]
    if lost:
        raise ClusterError(
            f"{len(lost)} pods belong to no controller: nobody would make them again; nothing was changed",
            remedy="delete them, or give --force to lose them",
            details=tuple(f"{name(pod)} on {pod.spec.node_name}" for pod in lost),
        )


def _place(free: dict[str, Room], pods: Sequence[Pod]) -> tuple[Pod, ...]:
    """Take room for pods, the largest first, each on the emptiest node that fits; return those that fit nowhere."""
    homeless: list[Pod] = []
    for pod in sorted(pods, key=lambda pod: (-_size(pod).gpus, -_size(pod).memory)):
        size = _size(pod)
        fitting = [room for room in free.values() if room.fits(size.gpus, size.memory)]
        if not fitting:
            homeless.append(pod)
            continue
        chosen = max(fitting, key=lambda room: room.gpus_free)
        free[chosen.node] = chosen.less(size.gpus, size.memory)
    return tuple(homeless)


def _no_room(homeless: Sequence[Pod], free: Sequence[Room], replicas: Replicas) -> ModelError:
    asks = []
    for pod in homeless:
        size = _size(pod)
        memory = f" and {size.memory / (1 << 30):.0f} GiB of memory" if size.memory else ""
        where = f"{replicas.owner(pod)} on {pod.spec.node_name}"
        asks.append(f"the replica of {where} needs {size.gpus} GPUs{memory} on another node")
    lines = [f"  {room.label}, {room.memory_free >> 30} GiB of memory free" for room in free]
    return ModelError(
        f"no room for {len(homeless)} replicas that would have to move; nothing was changed",
        remedy=(
            "free GPUs or add a GPU worker; or give --drain-first: these replicas then stop before another is ready"
        ),
        details=(*asks, *(lines or ["  no other node takes replicas"])),
    )


def _models(pods: Sequence[Pod], replicas: Replicas) -> tuple[str, ...]:
    return tuple(dict.fromkeys(replicas.owner(pod) for pod in pods))


def _warning(model: str, homeless: Sequence[Pod], pods: Sequence[Pod], replicas: Replicas) -> str:
    gone = sum(replicas.owner(pod) == model for pod in homeless)
    left = replicas.ready(model, pods) - gone
    if left <= 0:
        return f"model {model}: no room for another replica, so it does not answer until there is some"
    return f"model {model}: {gone} replicas stop before others are ready, as there is no room; {left} go on serving"


def _size(pod: Pod) -> _Size:
    asked = [container.resources.requests for container in pod.spec.containers]
    gpus = sum(quantity(item.get(GPU, "0")) for item in asked)
    return _Size(gpus, sum(quantity(item.get("memory", "0")) for item in asked))


def name(pod: Pod) -> str:
    """How results and messages name a pod."""
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
