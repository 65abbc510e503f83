"""What nodes have left for a replica: GPUs and memory, as the scheduler counts them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmprov.cluster.client import Cluster
from llmprov.cluster.nodes import GPU
from llmprov.cluster.objects import NODE, POD, Node, Pod

_QUANTITY = re.compile(r"(?P<number>[0-9.]+)(?P<unit>[A-Za-z]*)")
_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {
    f"{letter}i": float(1 << 10 * power) for power, letter in enumerate("KMGT", start=1)
}
_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Room:
    """One node that may run replicas; memory in bytes."""

    node: str
    gpus: int
    gpus_free: int
    memory_free: int

    def fits(self, gpus: int, memory: int) -> bool:
        """Whether a pod of that size can be placed there now."""
        return self.gpus_free >= gpus and self.memory_free >= memory

    def less(self, gpus: int, memory: int) -> "Room":
        """Return what is left once a pod of that size is there; negative sizes give back."""
        return Room(self.node, self.gpus, self.gpus_free - gpus, self.memory_free - memory)

    @property
    def label(self) -> str:
        """How messages name it: `gpu1: 1 of 8 GPUs free`."""
        return f"{self.node}: {self.gpus_free} of {self.gpus} GPUs free"


def rooms(cluster: Cluster) -> tuple[Room, ...]:
    """Return every node that takes replicas, by name: Ready, not cordoned, no taint but that of GPUs.

    What pods hold that are being deleted counts as free: it will be, before a pod waits for it in vain.
    """
    held: defaultdict[str, list[Pod]] = defaultdict(list)
    for pod in map(Pod.model_validate, cluster.list(POD).items):
        if pod.status.phase not in _ENDED and pod.metadata.deletion_timestamp is None:
            held[pod.spec.node_name].append(pod)
    nodes = (Node.model_validate(item) for item in cluster.list(NODE).items)
    found = (_room(node, held[node.metadata.name]) for node in nodes if _takes_replicas(node))
    return tuple(sorted(found, key=lambda room: room.node))


def quantity(text: str) -> int:
    """Read a Kubernetes quantity, `64Gi`, rounded down to whole units; 0 for what is none."""
    found = _QUANTITY.fullmatch(text)
    return int(float(found["number"]) * _UNITS[found["unit"]]) if found and found["unit"] in _UNITS else 0


def _takes_replicas(node: Node) -> bool:
    closed = [taint for taint in node.spec.taints if taint.effect in {"NoSchedule", "NoExecute"} and taint.key != GPU]
    return node.status.holds("Ready") and not node.spec.unschedulable and not closed


def _room(node: Node, pods: Iterable[Pod]) -> Room:
    pods = tuple(pods)
    gpus = quantity(node.status.allocatable.get(GPU, "0"))
    # A node that reports no memory (a test's) is not full.
    memory = quantity(node.status.allocatable.get("memory", "1024Ti"))
    taken = [requests for pod in pods for requests in _requests(pod)]
    return Room(
        node.metadata.name,
        gpus,
        gpus - sum(quantity(item.get(GPU, "0")) for item in taken),
        memory - sum(quantity(item.get("memory", "0")) for item in taken),
    )


def _requests(pod: Pod) -> tuple[Mapping[str, str], ...]:
    return tuple(container.resources.requests for container in pod.spec.containers)
