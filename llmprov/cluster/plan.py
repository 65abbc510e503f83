"""What applying a set of objects would do; nothing is changed."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

from llmprov.cluster.apply import as_job, as_member, leftovers, ordered, same_job
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.compare import APPLIED, differences, in_sync, marked
from llmprov.cluster.kinds import JOB
from llmprov.cluster.live import LiveObjects, key_of
from llmprov.cluster.objects import SECRET, Header
from llmprov.cluster.transport import THREADS
from llmprov.errors import ClusterError, joined
from llmprov.plans import FieldChange, ObjectAction, ObjectPlan

_HIDDEN = "…"
# These change by themselves.
_OF_THE_API = frozenset({"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink"})


def plan_set(
    cluster: Cluster, stage: str, name: str, objects: Sequence[Object], live: LiveObjects
) -> tuple[ObjectPlan, ...]:
    """Say what applying a set would create, update and prune, in that order of doing.

    An object whose kind or namespace is not there yet is created for certain. Of the others, those that are not
    certainly as they should be are compared with what the API says they would become.

    Args:
        cluster: which.
        stage: that brings the set.
        name: of the set.
        objects: the whole set.
        live: what is there.

    Raises:
        ClusterError: the API would refuse objects; every one is named.
    """
    labelled = [as_member(item, name) for item in ordered(objects)]
    headers = [Header.model_validate(item) for item in labelled]
    live = live.including(cluster, (header.resource for header in headers))
    planner = _Planner(cluster, stage, live)
    with ThreadPoolExecutor(THREADS) as threads:
        outcomes = tuple(threads.map(planner.outcome, labelled, headers))
    refused = [outcome for outcome in outcomes if isinstance(outcome, ClusterError)]
    if refused:
        raise joined(ClusterError, f"{len(refused)} objects of {name} would be refused", refused)
    doing = tuple(outcome for outcome in outcomes if isinstance(outcome, ObjectPlan))
    doomed = leftovers(live, name, headers)
    return (*doing, *(ObjectPlan(stage, ObjectAction.PRUNE, header.label) for header in doomed))


@dataclass(frozen=True, slots=True)
class _Planner:
    cluster: Cluster
    stage: str
    live: LiveObjects

    def outcome(self, item: Object, header: Header) -> ObjectPlan | ClusterError | None:
        """What becomes of an object, None when nothing, or why the API would refuse it."""
        try:
            return self._plan(item, header)
        except ClusterError as error:
            return error

    def _plan(self, item: Object, header: Header) -> ObjectPlan | None:
        there = self._there(header)
        if there is None:
            return ObjectPlan(self.stage, ObjectAction.CREATE, header.label)
        if header.resource == JOB:
            # It cannot be changed, so nobody can be asked what it would become; it is made anew.
            wanted = as_job(item)
            return None if same_job(wanted, there) else self._update(header, _named(wanted, there), wanted)
        wanted = marked(item)
        if in_sync(wanted, there):
            return None
        return self._update(header, there, self.cluster.apply(wanted, force=True, dry_run=True))

    def _there(self, header: Header) -> Object | None:
        found = self.live.objects.get(key_of(header))
        if found is not None:
            return found.item
        namespace = header.metadata.namespace
        if header.resource not in self.live.served or (namespace and namespace not in self.live.namespaces):
            return None
        # It may be there without the labels of a set.
        return self.cluster.get(header.resource, header.metadata.name, namespace)

    def _update(self, header: Header, before: Object, after: Object) -> ObjectPlan | None:
        shown = _secretly if header.resource == SECRET else _openly
        found = differences(_comparable(before), _comparable(after))
        fields = tuple(shown(path, old, new) for path, old, new in found)
        return ObjectPlan(self.stage, ObjectAction.UPDATE, header.label, fields) if fields else None


def _comparable(item: Object) -> Object:
    """An object without what changes by itself, and without what llmprov notes on it."""
    metadata = cast("Mapping[str, object]", item["metadata"])
    notes = cast("Mapping[str, object]", metadata.get("annotations") or {})
    kept = {key: value for key, value in metadata.items() if key not in _OF_THE_API and key != "annotations"}
    own = {key: value for key, value in notes.items() if key != APPLIED}
    return {
        **{k: v for k, v in item.items() if k != "status"},
        "metadata": kept | ({"annotations": own} if own else {}),
    }


def _named(wanted: object, live: object) -> Object:
    """Of an object only the fields that a manifest names."""
    return cast("Object", _narrowed(wanted, live))


def _narrowed(wanted: object, live: object) -> object:
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return {key: _narrowed(value, live[key]) for key, value in wanted.items() if key in live}
    if isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        return [_narrowed(one, other) for one, other in zip(wanted, live, strict=True)]
    return live


def _openly(path: str, before: object, after: object) -> FieldChange:
    return FieldChange(path, before, after)


def _secretly(path: str, before: object, after: object) -> FieldChange:
    if path.partition(".")[0] not in {"data", "stringData"}:
        return _openly(path, before, after)
    return FieldChange(path, *(None if value is None else _HIDDEN for value in (before, after)))
