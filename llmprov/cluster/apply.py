"""Makes a set of objects be in the cluster, and nothing that used to belong to the set."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.crds import wait_established
from llmprov.cluster.kinds import CRD, JOB, NEVER_PRUNED, ORDER
from llmprov.cluster.objects import Header, Kind
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError, joined
from llmprov.progress import Progress

MANAGED_BY = "app.kubernetes.io/managed-by"
SET = "llmprov.io/set"

# A finished Job cannot be changed: it is known by what made it, and made anew when that changes.
_JOB_HASH = "llmprov.io/job-hash"
_DELETE_SECONDS = 60.0


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
    cluster: Cluster,
    name: str,
    objects: Sequence[Object],
    progress: Progress,
    *,
    take_over: bool = False,
    within: str = "",
) -> Applied:
    """Apply the objects in an order that works, then delete what carries the set's label and is not among them.

    Args:
        cluster: where to.
        name: the set, a label value: `network`, `models`.
        objects: the whole set; the labels of the set are added here.
        progress: told which object is being applied.
        take_over: take fields over that somebody else owns, instead of failing.
        within: a label selector; of the set only what it selects is looked at and pruned.

    Raises:
        ClusterError: an object is refused, or somebody else owns its fields; every such object is named.
    """
    labelled = [_labelled(item, name) for item in ordered(objects)]
    with progress.step(f"apply {name}") as step:
        before = _members(cluster, name, within, (Header.model_validate(item).resource for item in labelled))
        run = _Run(cluster, name, before, take_over=take_over)
        for done, item in enumerate(labelled):
            header = Header.model_validate(item)
            step.update(header.label, done=done, total=len(labelled))
            if not run.apply(item, header):
                break
        if run.refused:
            raise joined(ClusterError, f"{len(run.refused)} objects of {name} were refused", run.refused)
        run.establish()
        kept = {_key(Header.model_validate(item)) for item in labelled}
        pruned = _prune(cluster, [member.header for key, member in before.items() if key not in kept])
        step.update(f"{len(labelled)} objects", done=len(labelled), total=len(labelled))
    return Applied(tuple(run.created), tuple(run.changed), tuple(run.unchanged), pruned)


type _Key = tuple[Kind, str, str]


@dataclass(frozen=True, slots=True)
class _Member:
    """An object of the set that is there before the run."""

    header: Header
    content: str


@dataclass
class _Run:
    """One set on its way into the cluster."""

    cluster: Cluster
    set_name: str
    before: Mapping[_Key, _Member]
    take_over: bool

    def __post_init__(self) -> None:
        self.created: list[str] = []
        self.changed: list[str] = []
        self.unchanged: list[str] = []
        self.refused: list[ClusterError] = []
        self._definitions: list[str] = []

    def apply(self, item: Object, header: Header) -> bool:
        """Apply one object; False when nothing that comes after it could be applied."""
        before = self.before.get(_key(header))
        try:
            if header.resource != CRD:
                self.establish()
            after = self._job(item, before) if header.resource == JOB else self._apply(item)
            if header.resource == CRD:
                self._definitions.append(header.metadata.name)
        except ClusterError as error:
            self.refused.append(error)
            return header.kind != "Namespace"
        self._verdict(before, after).append(header.label)
        return True

    def _apply(self, item: Object) -> str:
        return _content(self.cluster.apply(item, force=self.take_over))

    def establish(self) -> None:
        """Wait until the kinds that were defined so far are served."""
        names, self._definitions = self._definitions, []
        if names:
            wait_established(self.cluster, names, selector=_selector(self.set_name))

    def _job(self, item: Object, before: _Member | None) -> str:
        digest = _digest(item)[:16]
        if before is not None:
            if before.header.metadata.annotations.get(_JOB_HASH) == digest:
                return before.content
            _delete_and_wait(self.cluster, before.header)
        return self._apply(_with_metadata(item, "annotations", {_JOB_HASH: digest}))

    def _verdict(self, before: _Member | None, after: str) -> list[str]:
        if before is None:
            return self.created
        return self.unchanged if before.content == after else self.changed


def ordered(objects: Iterable[Object]) -> list[Object]:
    """Sort objects so that each comes after what it needs; kinds that are not known here come last, as given."""
    ranks = {kind: rank for rank, kind in enumerate(ORDER)}
    return sorted(objects, key=lambda item: ranks.get(Header.model_validate(item).resource, len(ranks)))


def _labelled(item: Object, name: str) -> Object:
    return _with_metadata(item, "labels", {MANAGED_BY: "llmprov", SET: name})


def _with_metadata(item: Object, field: str, values: Mapping[str, str]) -> Object:
    metadata = item["metadata"]
    if not isinstance(metadata, Mapping):
        raise TypeError(f"object without metadata: {item}")
    return {**item, "metadata": {**metadata, field: {**metadata.get(field, {}), **values}}}


def _selector(name: str) -> str:
    return f"{MANAGED_BY}=llmprov,{SET}={name}"


def _members(cluster: Cluster, name: str, within: str, kinds: Iterable[Kind]) -> dict[_Key, _Member]:
    served = cluster.groups()
    known = [kind for kind in dict.fromkeys((*ORDER, *kinds)) if kind.api_version in served and cluster.serves(kind)]
    selector = ",".join(filter(None, (_selector(name), within)))
    listed = (cluster.list(kind, selector=selector).items for kind in known)
    members = (_Member(Header.model_validate(item), _content(item)) for items in listed for item in items)
    # What a controller made out of a member (an autoscaler out of a ScaledObject) often has its labels, too.
    return {_key(member.header): member for member in members if not member.header.metadata.owner_references}


def _content(item: Object) -> str:
    """Return the digest of an object without what changes by itself: status, version, and who set which field."""
    metadata = item["metadata"]
    if not isinstance(metadata, Mapping):
        raise TypeError(f"object without metadata: {item}")
    kept = {key: value for key, value in metadata.items() if key not in {"resourceVersion", "managedFields"}}
    return _digest({**item, "metadata": kept, "status": None})


def _digest(item: Object) -> str:
    return hashlib.sha256(json.dumps(item, sort_keys=True, default=str).encode()).hexdigest()


def _key(header: Header) -> _Key:
    return header.resource, header.metadata.namespace, header.metadata.name


def _prune(cluster: Cluster, leftovers: Sequence[Header]) -> tuple[str, ...]:
    doomed = [header for header in leftovers if header.kind not in NEVER_PRUNED]
    for header in reversed(doomed):
        cluster.delete(header.resource, header.metadata.name, header.metadata.namespace)
    return tuple(header.label for header in doomed)


def _delete_and_wait(cluster: Cluster, header: Header) -> None:
    """Delete an object and wait until it is gone: another takes its name."""
    cluster.delete(header.resource, header.metadata.name, header.metadata.namespace)
    uid = header.metadata.uid

    def gone(items: Sequence[Object]) -> bool | None:
        return None if any(Header.model_validate(item).metadata.uid == uid for item in items) else True

    if (
        watch_until(cluster, Selection(header.resource, header.metadata.namespace), gone, seconds=_DELETE_SECONDS)
        is None
    ):
        raise ClusterError(
            f"{header.label} is not gone {_DELETE_SECONDS:.0f} s after it was deleted",
            remedy="a finalizer holds it: see its metadata, then run the same again",
        )
