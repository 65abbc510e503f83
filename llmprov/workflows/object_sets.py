"""Sets of Kubernetes objects as stations hand them out: applied by an install, compared by a plan."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce

from llmprov.cluster.apply import Applied, apply_set
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import LiveObjects
from llmprov.progress import Progress


@dataclass(frozen=True, slots=True)
class ObjectSet:
    """All objects that carry a set's label; what carries it and is not among them is pruned."""

    name: str
    objects: Sequence[Object] = field(repr=False)


def apply_sets(
    cluster: Cluster, sets: Iterable[ObjectSet], progress: Progress, *, live: LiveObjects | None = None
) -> Applied:
    """Apply sets one after the other.

    Args:
        cluster: where to.
        sets: in an order that works.
        progress: told which object is being applied.
        live: what was there a moment ago; None to look now.

    Raises:
        ClusterError: the API refuses an object.
    """
    applied = (apply_set(cluster, item.name, item.objects, progress, live=live) for item in sets)
    return reduce(Applied.plus, applied, Applied())
