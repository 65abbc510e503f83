"""Waits for the cluster to reach a state: list, then watch, decide after every change, give up at a deadline."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmprov.cluster.client import Cluster, Object, WatchExpiredError
from llmprov.cluster.objects import Header, Kind

WINDOW = 1.0
"""Seconds after which a silent watch decides again: "for more than a minute" comes true without any change."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects to look at."""

    kind: Kind
    namespace: str = ""
    selector: str = ""


def watch_until[T](
    cluster: Cluster, selection: Selection, decide: Callable[[Sequence[Object]], T | None], *, seconds: float
) -> T | None:
    """Call `decide` with the selected objects, at first and whenever they change, until it returns a value.

    Args:
        cluster: where.
        selection: what to look at.
        decide: returns None to go on waiting; an exception ends the wait.
        seconds: how long at most.

    Returns:
        What `decide` returned, or None when the time is over.
    """
    deadline = time.monotonic() + seconds
    while True:
        listing = cluster.list(selection.kind, selection.namespace, selector=selection.selector)
        known = {Header.model_validate(item).metadata.uid: item for item in listing.items}
        version = listing.resource_version
        while True:
            if (verdict := decide(tuple(known.values()))) is not None:
                return verdict
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                version = _follow(cluster, selection, known, version, min(WINDOW, left))
            except WatchExpiredError:
                break


def _follow(cluster: Cluster, selection: Selection, known: dict[str, Object], version: str, seconds: float) -> str:
    """Take in what changes until something did or the window is over; return where to go on."""
    for change in cluster.watch(
        selection.kind, selection.namespace, selector=selection.selector, version=version, seconds=seconds
    ):
        meta = Header.model_validate(change.object).metadata
        version = meta.resource_version
        if change.type == "BOOKMARK":
            continue
        if change.type == "DELETED":
            known.pop(meta.uid, None)
        else:
            known[meta.uid] = change.object
        return version
    return version
