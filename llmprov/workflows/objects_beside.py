"""Objects that are applied while workers join: the API is there and has little else to do then.

What runs on every node starts on each as it joins, instead of on all after the last. The kinds of models' objects are
defined, so that models can be made before anything else is there; all other kinds follow while they are. Nothing
else: pods that are made before the workers are there all go to the first of them.
"""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import apply_definitions
from llmprov.cluster.client import Cluster
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import Kind
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.model_objects import MODEL_KINDS
from llmprov.workflows.object_sets import ObjectSet, apply_sets
from llmprov.workflows.phases import Phases
from llmprov.workflows.push_beside import PushBeside
from llmprov.workflows.stations import Station, stations_of

type _Part = Callable[[Cluster, LiveObjects], int]


@dataclass(frozen=True, slots=True)
class AppliedBeside:
    """How many objects changed, and what is there now; None when nothing was begun."""

    changes: int = 0
    live: LiveObjects | None = None


class ObjectsBeside:
    """Applies them once told to begin, in two parts that are waited for later; leaving the context ends it.

    Args:
        inventory: names the cluster.
        lock: of the bundle, which has the definitions and pins the images.
        stages: names of those that are wanted.
        push: of the images, which is waited for before a pod names them.
        phases: gets one phase for each kind of work.
        progress: shows it.
        check: raises when somebody else works on the cluster now.
    """

    def __init__(
        self,
        inventory: Inventory,
        lock: BundleLock,
        stages: Collection[str],
        *,
        push: PushBeside,
        phases: Phases,
        progress: Progress,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._inventory = inventory
        self._lock = lock
        self._stations = stations_of(stages)
        self._push = push
        self._phases = phases
        self._progress = progress
        self._check = check
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="objects")
        self._first: Future[AppliedBeside] | None = None
        self._rest: Future[AppliedBeside] | None = None
        self._read: dict[str, tuple[ObjectSet, ...]] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it at the next object, when nobody waits for it any more."""
        self._ended.set()
        self._pool.shutdown(cancel_futures=True)

    def start(self) -> None:
        """Begin, unless it began already or there is nothing to apply."""
        if self._first is None and self._stations:
            self._first = self._pool.submit(copy_context().run, self._apply, self._for_models)

    def wait_for_models(self) -> AppliedBeside:
        """Wait until models can be made; the rest begins then, and not before: it would slow down the joins.

        Raises:
            LlmprovError: an object was refused, the push failed, or the bundle lacks something.
        """
        if self._first is None:
            return AppliedBeside()
        found = self._first.result()
        self._rest = self._pool.submit(copy_context().run, self._apply, self._definitions, found.live)
        return found

    def wait(self) -> AppliedBeside:
        """Wait for the rest.

        Raises:
            LlmprovError: as `wait_for_models`.
        """
        return AppliedBeside() if self._rest is None else self._rest.result()

    def _apply(self, part: _Part, live: LiveObjects | None = None) -> AppliedBeside:
        with open_cluster(self._inventory) as api:
            changes = part(api, live or LiveObjects.read(api))
            return AppliedBeside(changes, LiveObjects.read(api))

    def _for_models(self, api: Cluster, live: LiveObjects) -> int:
        # What is quick and starts something comes first, unless its images are still on their way.
        parts: list[_Part] = [self._on_every_node, partial(self._definitions, only=MODEL_KINDS)]
        if self._push.running:
            parts.reverse()
        return sum(part(api, live) for part in parts)

    def _on_every_node(self, api: Cluster, live: LiveObjects) -> int:
        self._push.wait(self._go_on)
        changes = 0
        with self._phases.timed("what runs on every node", beside=True):
            for station in filter(lambda station: station.on_every_node, self._stations):
                self._go_on()
                sets = station.sets(api, self._inventory, self._lock)
                changes += apply_sets(api, sets, self._progress, live=live).changes
        return changes

    def _definitions(self, api: Cluster, live: LiveObjects, *, only: frozenset[Kind] | None = None) -> int:
        changes, name = 0, "kinds of models" if only else "other kinds"
        with self._phases.timed(name, beside=True), self._progress.step(name) as step:
            # Of the others everything is applied, kinds too.
            for station in filter(lambda station: not station.on_every_node, self._stations):
                step.update(station.stage)
                for item in self._sets(station, api):
                    done = apply_definitions(api, item.name, item.objects, live=live, check=self._go_on, only=only)
                    changes += done.changes
        return changes

    def _sets(self, station: Station, api: Cluster) -> tuple[ObjectSet, ...]:
        """Return what a station applies; reading it takes a while, and both parts ask."""
        if station.stage not in self._read:
            self._read[station.stage] = station.sets(api, self._inventory, self._lock)
        return self._read[station.stage]

    def _go_on(self) -> None:
        if self._ended.is_set():
            raise _EndedError
        self._check()


class _EndedError(Exception):
    """The install ended otherwise; nobody learns of this."""
