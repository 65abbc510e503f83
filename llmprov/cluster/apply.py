"""Makes a set of objects be in the cluster, and nothing that used to belong to the set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.compare import APPLIED, digest, in_sync, marked, with_metadata
from llmprov.cluster.crds import Definition, wait_established
from llmprov.cluster.kinds import CRD, JOB, NEVER_PRUNED, ORDER
from llmprov.cluster.live import MANAGED_BY, SET, Key, LiveObjects, Member, key_of
from llmprov.cluster.objects import Header, Kind
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError, joined
from llmprov.progress import Progress

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

    def plus(self, other: "Applied") -> "Applied":
        """Return what became of two sets."""
        return Applied(
            self.created + other.created,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.pruned + other.pruned,
        )


def apply_set(
    cluster: Cluster,
    name: str,
    objects: Sequence[Object],
    progress: Progress,
    *,
    live: LiveObjects | None = None,
    take_over: bool = False,
    within: str = "",
) -> Applied:
    """Apply the objects in an order that works, then delete what carries the set's label and is not among them.

    Nothing is sent for an object that is as it should be.

    Args:
        cluster: where to.
        name: the set, a label value: `network`, `models`.
        objects: the whole set; the labels of the set are added here.
        progress: told which object is being applied.
        live: what was there a moment ago, read for all sets together; None to look now.
        take_over: take fields over that somebody else owns, instead of failing.
        within: a label selector; of the set only what it selects is looked at (now) and pruned.

    Raises:
        ClusterError: an object is refused, or somebody else owns its fields; every such object is named.
    """
    labelled = [as_member(item, name) for item in ordered(objects)]
    headers = [Header.model_validate(item) for item in labelled]
    with progress.step(f"apply {name}") as step:
        if live is None or within:
            live = LiveObjects.read(cluster, set_name=name, within=within)
        live = live.including(cluster, (header.resource for header in headers))
        run = _Run(cluster, name, live.objects, take_over=take_over)
        for done, (item, header) in enumerate(zip(labelled, headers, strict=True)):
            step.update(header.label, done=done, total=len(labelled))
            if not run.apply(item, header):
                break
        run.finish()
        pruned = _prune(cluster, name, leftovers(live, name, headers))
        step.update(f"{len(labelled)} objects", done=len(labelled), total=len(labelled))
    return replace(run.applied, pruned=pruned)


def apply_definitions(
    cluster: Cluster,
    name: str,
    objects: Iterable[Object],
    kinds: frozenset[Kind],
    *,
    live: LiveObjects,
    check: Callable[[], None],
) -> Applied:
    """Of a set, apply only what defines these kinds, and wait until the API serves them.

    Args:
        cluster: where to.
        name: the set.
        objects: the whole set.
        kinds: that are wanted; of a set that has none of them nothing is applied.
        live: what was there a moment ago.
        check: called before each object; it raises to end the work.

    Raises:
        ClusterError: as `apply_set`.
    """
    run = _Run(cluster, name, live.objects, take_over=False)
    for item in objects:
        header = Header.model_validate(item)
        if header.resource == CRD and kinds.intersection(Definition.model_validate(item).kinds):
            check()
            run.apply(as_member(item, name), header)
    run.finish()
    return run.applied


@dataclass
class _Run:
    """One set on its way into the cluster."""

    cluster: Cluster
    set_name: str
    before: Mapping[Key, Member]
    take_over: bool

    def __post_init__(self) -> None:
        self.created: list[str] = []
        self.changed: list[str] = []
        self.unchanged: list[str] = []
        self.refused: list[ClusterError] = []
        self._definitions: list[str] = []

    def apply(self, item: Object, header: Header) -> bool:
        """Apply one object; False when nothing that comes after it could be applied."""
        before = self.before.get(key_of(header))
        try:
            if header.resource != CRD:
                self.establish()
            after = self._job(item, before) if header.resource == JOB else self._apply(marked(item), before)
        except ClusterError as error:
            self.refused.append(error)
            return header.kind != "Namespace"
        if header.resource == CRD and not Definition.model_validate(after).status.holds("Established"):
            self._definitions.append(header.metadata.name)
        self._verdict(before, after).append(header.label)
        return True

    def _apply(self, item: Object, before: Member | None) -> Object:
        """Apply an object unless that would change nothing; return what is there then."""
        if before is not None and in_sync(item, before.item):
            return before.item
        return self.cluster.apply(item, force=self.take_over)

    def finish(self) -> None:
        """Wait for the last kinds, or say which objects were refused."""
        if self.refused:
            raise joined(ClusterError, f"{len(self.refused)} objects of {self.set_name} were refused", self.refused)
        self.establish()

    @property
    def applied(self) -> Applied:
        """What became of the objects so far."""
        return Applied(tuple(self.created), tuple(self.changed), tuple(self.unchanged))

    def establish(self) -> None:
        """Wait until the kinds that were defined so far are served."""
        names, self._definitions = self._definitions, []
        if names:
            wait_established(self.cluster, names, selector=_selector(self.set_name))

    def _job(self, item: Object, before: Member | None) -> Object:
        wanted = as_job(item)
        if before is not None:
            if same_job(wanted, before.item):
                return before.item
            _delete_and_wait(self.cluster, before.header)
        return self.cluster.apply(wanted, force=self.take_over)

    def _verdict(self, before: Member | None, after: Object) -> list[str]:
        if before is None:
            return self.created
        same = before.item is after or _content(before.item) == _content(after)
        return self.unchanged if same else self.changed


def ordered(objects: Iterable[Object]) -> list[Object]:
    """Sort objects so that each comes after what it needs; kinds that are not known here come last, as given."""
    ranks = {kind: rank for rank, kind in enumerate(ORDER)}
    return sorted(objects, key=lambda item: ranks.get(Header.model_validate(item).resource, len(ranks)))


def as_member(item: Object, name: str) -> Object:
    """Return an object with the labels of a set."""
    return with_metadata(item, "labels", {MANAGED_BY: "llmprov", SET: name})


def as_job(item: Object) -> Object:
    """Return a Job that says what made it."""
    return with_metadata(item, "annotations", {_JOB_HASH: digest(item)[:16]})


def same_job(one: Object, other: Object) -> bool:
    """Tell whether two Jobs were made from the same manifest."""
    mark, another = (Header.model_validate(item).metadata.annotations.get(_JOB_HASH) for item in (one, other))
    return mark == another


def leftovers(live: LiveObjects, name: str, wanted: Iterable[Header]) -> tuple[Header, ...]:
    """Return the members of a set that are not wanted any more and may be deleted."""
    kept = {key_of(header) for header in wanted}
    headers = (member.header for key, member in live.members(name).items() if key not in kept)
    return tuple(header for header in headers if header.kind not in NEVER_PRUNED)


def _selector(name: str) -> str:
    return f"{MANAGED_BY}=llmprov,{SET}={name}"


def _content(item: Object) -> str:
    """Return the digest of an object without what changes by itself: status, version, and who set which field."""
    metadata = item["metadata"]
    if not isinstance(metadata, Mapping):
        raise TypeError(f"object without metadata: {item}")
    # A Deployment counts a new annotation as a new generation.
    moving = {"resourceVersion", "managedFields", "generation"}
    kept = {key: value for key, value in metadata.items() if key not in moving}
    notes = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != APPLIED}
    return digest({**item, "metadata": {**kept, "annotations": notes}, "status": None})


def _prune(cluster: Cluster, name: str, doomed: Sequence[Header]) -> tuple[str, ...]:
    gone = [header for header in reversed(doomed) if _still_member(cluster, name, header)]
    for header in gone:
        cluster.delete(header.resource, header.metadata.name, header.metadata.namespace)
    return tuple(header.label for header in reversed(gone))


def _still_member(cluster: Cluster, name: str, header: Header) -> bool:
    """Tell whether an object is still the set's: another may have taken it over since the snapshot was made."""
    found = cluster.get(header.resource, header.metadata.name, header.metadata.namespace)
    return found is not None and Header.model_validate(found).metadata.labels.get(SET) == name


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
