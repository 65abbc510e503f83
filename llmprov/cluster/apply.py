"""Makes a set of objects be in the cluster, and nothing that used to belong to the set."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import Header, Kind
from llmprov.errors import ClusterError
from llmprov.progress import Progress

MANAGED_BY = "app.kubernetes.io/managed-by"
SET = "llmprov.io/set"

# Kinds in the order in which one needs the other. Those of this list are also searched for objects that left a set.
_ORDER: tuple[Kind, ...] = (
    Kind("v1", "Namespace"),
    Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    Kind("scheduling.k8s.io/v1", "PriorityClass"),
    Kind("v1", "ServiceAccount"),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRole"),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    Kind("rbac.authorization.k8s.io/v1", "Role"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding"),
    Kind("v1", "ConfigMap"),
    Kind("v1", "Secret"),
    Kind("networking.k8s.io/v1", "NetworkPolicy"),
    Kind("v1", "Service"),
    Kind("policy/v1", "PodDisruptionBudget"),
    Kind("apps/v1", "DaemonSet"),
    Kind("apps/v1", "StatefulSet"),
    Kind("apps/v1", "Deployment"),
)
# Deleting these deletes what others keep in them: never without being asked.
_NEVER_PRUNED = frozenset({"Namespace", "CustomResourceDefinition"})


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a set; each entry reads like `Deployment llmprov-models/smollm2`."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()

    @property
    def changes(self) -> int:
        """How many objects differ from before."""
        return len(self.created) + len(self.changed) + len(self.pruned)


def apply_set(
    cluster: Cluster, name: str, objects: Sequence[Object], progress: Progress, *, take_over: bool = False
) -> Applied:
    """Apply the objects in an order that works, then delete what carries the set's label and is not among them.

    Args:
        cluster: where to.
        name: the set, a label value: `network`, `models`.
        objects: the whole set; the labels of the set are added here.
        progress: told which object is being applied.
        take_over: take fields over that somebody else owns, instead of failing.

    Raises:
        ClusterError: an object is refused, or somebody else owns its fields; every such object is named.
    """
    labelled = [_labelled(item, name) for item in ordered(objects)]
    with progress.step(f"apply {name}") as step:
        before = _members(cluster, name, (Header.model_validate(item).resource for item in labelled))
        outcome: dict[str, list[str]] = {"created": [], "changed": [], "unchanged": []}
        refused: list[ClusterError] = []
        for done, item in enumerate(labelled):
            header = Header.model_validate(item)
            step.update(header.label, done=done, total=len(labelled))
            try:
                after = Header.model_validate(cluster.apply(item, force=take_over))
            except ClusterError as error:
                refused.append(error)
                if header.kind == "Namespace":
                    break  # nothing in it could be applied
                continue
            outcome[_verdict(before.get(_key(header)), after)].append(header.label)
        if refused:
            raise _joined(name, refused)
        kept = {_key(Header.model_validate(item)) for item in labelled}
        pruned = _prune(cluster, [header for key, header in before.items() if key not in kept])
        step.update(f"{len(labelled)} objects", done=len(labelled), total=len(labelled))
    created, changed, unchanged = (tuple(names) for names in outcome.values())
    return Applied(created, changed, unchanged, pruned)


def ordered(objects: Iterable[Object]) -> list[Object]:
    """Sort objects so that each comes after what it needs; kinds that are not known here come last, as given."""
    ranks = {kind: rank for rank, kind in enumerate(_ORDER)}
    return sorted(objects, key=lambda item: ranks.get(Header.model_validate(item).resource, len(ranks)))


def _labelled(item: Object, name: str) -> Object:
    metadata = item["metadata"]
    if not isinstance(metadata, Mapping):
        raise TypeError(f"object without metadata: {item}")
    labels = {**metadata.get("labels", {}), MANAGED_BY: "llmprov", SET: name}
    return {**item, "metadata": {**metadata, "labels": labels}}


def _members(cluster: Cluster, name: str, kinds: Iterable[Kind]) -> dict[tuple[Kind, str, str], Header]:
    selector = f"{MANAGED_BY}=llmprov,{SET}={name}"
    known = dict.fromkeys((*_ORDER, *kinds))
    listed = (cluster.list(kind, selector=selector).items for kind in known if cluster.serves(kind))
    headers = (Header.model_validate(item) for items in listed for item in items)
    return {_key(header): header for header in headers}


def _key(header: Header) -> tuple[Kind, str, str]:
    return header.resource, header.metadata.namespace, header.metadata.name


def _verdict(before: Header | None, after: Header) -> str:
    if before is None:
        return "created"
    same = before.metadata.resource_version == after.metadata.resource_version
    return "unchanged" if same else "changed"


def _prune(cluster: Cluster, leftovers: Sequence[Header]) -> tuple[str, ...]:
    doomed = [header for header in leftovers if header.kind not in _NEVER_PRUNED]
    for header in reversed(doomed):
        cluster.delete(header.resource, header.metadata.name, header.metadata.namespace)
    return tuple(header.label for header in doomed)


def _joined(name: str, refused: Sequence[ClusterError]) -> ClusterError:
    if len(refused) == 1:
        return refused[0]
    return ClusterError(
        f"{len(refused)} objects of {name} were refused",
        remedy=refused[0].remedy,
        details=tuple(line for error in refused for line in (error.message, *(f"  {text}" for text in error.details))),
    )
