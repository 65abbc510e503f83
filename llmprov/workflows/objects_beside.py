"""Objects that are applied while workers join: the API is there and has little else to do then.

What runs on every node starts on each as it joins, instead of on all after the last. The kinds of models' objects are
defined, so that models can be made before anything else is there. Nothing else: pods that are made before the workers
are there all go to the first of them, and all other kinds would keep the API from the kubelets.
"""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import apply_definitions
from llmprov.cluster.client import Cluster
from llmprov.cluster.live import LiveObjects
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.model_objects import MODEL_KINDS
from llmprov.workflows.object_sets import apply_sets
from llmprov.workflows.phases import Phases
from llmprov.workflows.push_beside import PushBeside
from llmprov.workflows.stations import stations_of


@dataclass(frozen=True, slots=True)
class AppliedBeside:
    """How many objects changed, and what is there now; None when nothing was begun."""

    changes: int = 0
    live: LiveObjects | None = None


class ObjectsBeside:
    """Applies them once told to begin, and is waited for later; leaving the context ends it.

    Args:
        inventory: names the cluster.
        lock: of the bundle, which has the definitions and pins the images.
        stages: names of those that are wanted.
        push: of the images, which is waited for before a pod names them.
        phases: gets one phase for each of the two parts.
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
        self._running: Future[AppliedBeside] | None = None
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
        if self._running is None and self._stations:
            self._running = self._pool.submit(copy_context().run, self._apply)

    def wait(self) -> AppliedBeside:
        """Wait for its end.

        Raises:
            LlmprovError: an object was refused, the push failed, or the bundle lacks something.
        """
        return AppliedBeside() if self._running is None else self._running.result()

    def _apply(self) -> AppliedBeside:
        with open_cluster(self._inventory) as api:
            live = LiveObjects.read(api)
            # What is quick and starts something comes first, unless its images are still on their way.
            parts = [self._on_every_node, self._kinds_of_models]
            if self._push.running:
                parts.reverse()
            changes = sum(part(api, live) for part in parts)
            return AppliedBeside(changes, LiveObjects.read(api))

    def _on_every_node(self, api: Cluster, live: LiveObjects) -> int:
        self._push.wait(self._go_on)
        changes = 0
        with self._phases.timed("what runs on every node", beside=True):
            for station in filter(lambda station: station.on_every_node, self._stations):
                self._go_on()
                sets = station.sets(api, self._inventory, self._lock)
                changes += apply_sets(api, sets, self._progress, live=live).changes
        return changes

    def _kinds_of_models(self, api: Cluster, live: LiveObjects) -> int:
        changes = 0
        with self._phases.timed("kinds of models", beside=True), self._progress.step("kinds of models") as step:
            # Of the others everything is applied, kinds too.
            for station in filter(lambda station: not station.on_every_node, self._stations):
                step.update(station.stage)
                for item in station.sets(api, self._inventory, self._lock):
                    done = apply_definitions(api, item.name, item.objects, MODEL_KINDS, live=live, check=self._go_on)
                    changes += done.changes
        return changes

    def _go_on(self) -> None:
        if self._ended.is_set():
            raise _EndedError
        self._check()


class _EndedError(Exception):
    """The install ended otherwise; nobody learns of this."""
