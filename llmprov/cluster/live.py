"""What llmprov manages in a cluster, as it was found at one moment: one list for each kind, several at a time."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.kinds import ORDER
from llmprov.cluster.objects import NAMESPACE, Header, Kind
from llmprov.cluster.transport import THREADS

MANAGED_BY = "app.kubernetes.io/managed-by"
SET = "llmprov.io/set"

type Key = tuple[Kind, str, str]
"""Kind, namespace and name."""


@dataclass(frozen=True, slots=True)
class Member:
    """An object that is there."""

    header: Header
    item: Object = field(repr=False)

    @property
    def key(self) -> Key:
        """What tells it apart."""
        return key_of(self.header)


@dataclass(frozen=True, slots=True)
class LiveObjects:
    """A snapshot; it stays as it was while objects are applied.

    Attributes:
        selector: labels of what was looked for.
        served: kinds that the API serves.
        looked: kinds that were looked for.
        objects: what was found.
        namespaces: names of all namespaces, whoever made them.
    """

    selector: str
    served: frozenset[Kind]
    looked: frozenset[Kind]
    objects: Mapping[Key, Member] = field(repr=False)
    namespaces: frozenset[str]

    @classmethod
    def read(cls, cluster: Cluster, *, set_name: str = "", within: str = "") -> "LiveObjects":
        """Look at a cluster.

        Args:
            cluster: which.
            set_name: only the objects of this set; empty for those of all sets.
            within: a label selector; only what it selects, too.
        """
        of_set = f"{SET}={set_name}" if set_name else ""
        selector = ",".join(filter(None, (f"{MANAGED_BY}=llmprov", of_set, within)))
        served = cluster.kinds()
        spaces = frozenset(Header.model_validate(item).metadata.name for item in cluster.list(NAMESPACE).items)
        return cls(selector, served, frozenset(), {}, spaces).including(cluster, ORDER)

    def including(self, cluster: Cluster, kinds: Iterable[Kind]) -> "LiveObjects":
        """Return a snapshot in which objects of these kinds were looked for, too."""
        missing = frozenset(kinds) - self.looked
        if not missing:
            return self
        with ThreadPoolExecutor(THREADS) as threads:
            listings = threads.map(lambda kind: cluster.list(kind, selector=self.selector), missing & self.served)
            found = [Member(Header.model_validate(item), item) for listing in listings for item in listing.items]
        # What a controller made out of a member (an autoscaler out of a ScaledObject) often has its labels, too.
        own = {member.key: member for member in found if not member.header.metadata.owner_references}
        return LiveObjects(self.selector, self.served, self.looked | missing, {**self.objects, **own}, self.namespaces)

    def members(self, set_name: str) -> dict[Key, Member]:
        """Return the objects of a set."""
        return {
            key: member for key, member in self.objects.items() if member.header.metadata.labels.get(SET) == set_name
        }


def key_of(header: Header) -> Key:
    """Return what tells an object apart."""
    return header.resource, header.metadata.namespace, header.metadata.name
