"""Nodes: which there are, which are ready, how many GPUs they have and how many are taken."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import NODE, POD, Node, Pod
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError
from llmprov.progress import Progress

GPU = "nvidia.com/gpu"
CONTROL_PLANE_ROLE = "node-role.kubernetes.io/control-plane"


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node: GPUs as the scheduler counts them."""

    name: str
    ready: bool
    schedulable: bool
    control_plane: bool
    version: str
    gpus: int
    gpus_used: int
    reason: str = ""
    """Why it is not ready."""


def node_states(cluster: Cluster) -> tuple[NodeState, ...]:
    """Return every node, by name."""
    nodes = [Node.model_validate(item) for item in cluster.list(NODE).items]
    used = gpus_used(Pod.model_validate(item) for item in cluster.list(POD).items)
    return tuple(sorted((_state(node, used) for node in nodes), key=lambda state: state.name))


def gpus_used(pods: Iterable[Pod]) -> Mapping[str, int]:
    """Count the GPUs that pods hold, by node."""
    used: Counter[str] = Counter()
    for pod in pods:
        if pod.spec.node_name and pod.status.phase not in {"Succeeded", "Failed"}:
            used[pod.spec.node_name] += sum(int(c.resources.requests.get(GPU, "0")) for c in pod.spec.containers)
    return used


def wait_nodes_ready(cluster: Cluster, names: Sequence[str], progress: Progress, *, seconds: float = 180.0) -> None:
    """Wait until each of these nodes has joined and is Ready.

    Raises:
        ClusterError: the time is over; the details say of each missing node why.
    """
    wanted = frozenset(names)
    missing: dict[str, str] = {}
    with progress.step("nodes ready") as step:

        def decide(items: Sequence[Object]) -> bool | None:
            nodes = {node.metadata.name: node for node in map(Node.model_validate, items)}
            missing.clear()
            missing.update({name: _trouble(nodes.get(name)) for name in wanted if _trouble(nodes.get(name))})
            step.update(", ".join(sorted(missing)), done=len(wanted) - len(missing), total=len(wanted))
            return None if missing else True

        if watch_until(cluster, Selection(NODE), decide, seconds=seconds) is None:
            raise ClusterError(
                f"{len(missing)} of {len(wanted)} nodes are not Ready after {seconds:.0f} s",
                remedy="look at the kubelet there: journalctl -u kubelet",
                details=tuple(f"{name}: {reason}" for name, reason in sorted(missing.items())),
            )


def set_labels(cluster: Cluster, name: str, labels: Mapping[str, str]) -> bool:
    """Set labels of a node; False when it already has them."""
    present = _node(cluster, name).metadata.labels
    if all(present.get(key) == value for key, value in labels.items()):
        return False
    cluster.merge(NODE, name, {"metadata": {"labels": dict(labels)}})
    return True


def cordon(cluster: Cluster, name: str) -> bool:
    """Let no new pods onto a node; False when none were let before.

    Raises:
        ClusterError: there is no such node.
    """
    return _schedulable(cluster, name, wanted=False)


def uncordon(cluster: Cluster, name: str) -> bool:
    """Let pods onto a node again; False when they were let before.

    Raises:
        ClusterError: there is no such node.
    """
    return _schedulable(cluster, name, wanted=True)


def delete_node(cluster: Cluster, name: str) -> None:
    """Delete a Node object; it may already be gone. A kubelet that runs there does not bring it back."""
    cluster.delete(NODE, name)


def _schedulable(cluster: Cluster, name: str, *, wanted: bool) -> bool:
    if _node(cluster, name).spec.unschedulable is not wanted:
        return False
    cluster.merge(NODE, name, {"spec": {"unschedulable": None if wanted else True}})
    return True


def _node(cluster: Cluster, name: str) -> Node:
    found = cluster.get(NODE, name)
    if found is None:
        raise ClusterError(
            f"there is no node {name} in the cluster",
            remedy="the host has not joined: run `llmprov install`; node names are the inventory's host names",
        )
    return Node.model_validate(found)


def _state(node: Node, used: Mapping[str, int]) -> NodeState:
    name = node.metadata.name
    return NodeState(
        name=name,
        ready=node.status.holds("Ready"),
        schedulable=not node.spec.unschedulable,
        control_plane=CONTROL_PLANE_ROLE in node.metadata.labels,
        version=node.status.node_info.kubelet_version,
        gpus=int(node.status.allocatable.get(GPU, "0")),
        gpus_used=used.get(name, 0),
        reason=_trouble(node),
    )


def _trouble(node: Node | None) -> str:
    if node is None:
        return "has not joined"
    condition = node.status.condition("Ready")
    if condition is None:
        return "its kubelet has not reported yet"
    return "" if condition.status == "True" else f"{condition.reason}: {condition.message}"
