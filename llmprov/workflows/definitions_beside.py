"""The kinds that stations bring, defined while workers join: the API is there and has little else to do then.

Only definitions: pods that are made before the workers are there all go to the first of them.
"""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType
from typing import Self

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import apply_definitions
from llmprov.cluster.live import LiveObjects
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.phases import Phases
from llmprov.workflows.stations import stations_of


class DefinitionsBeside:
    """Defines kinds once told to begin, and is waited for later; leaving the context ends it.

    Args:
        inventory: names the cluster.
        lock: of the bundle, which has the definitions.
        stages: names of those that are wanted.
        phases: gets one phase for it.
        progress: shows it.
        check: raises when somebody else works on the cluster now.
    """

    def __init__(
        self,
        inventory: Inventory,
        lock: BundleLock,
        stages: Collection[str],
        *,
        phases: Phases,
        progress: Progress,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._inventory = inventory
        self._lock = lock
        self._stations = stations_of(stages)
        self._phases = phases
        self._progress = progress
        self._check = check
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="definitions")
        self._running: Future[int] | None = None
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
        """Begin, unless it began already or there is nothing to define."""
        if self._running is None and self._stations:
            self._running = self._pool.submit(copy_context().run, self._define)

    def wait(self) -> int:
        """Wait for its end; return how many definitions changed. 0 when it was not begun.

        Raises:
            LlmprovError: a definition was refused, or the bundle lacks something.
        """
        return 0 if self._running is None else self._running.result()

    def _define(self) -> int:
        changes = 0
        with (
            self._phases.timed("definitions", beside=True),
            self._progress.step("definitions") as step,
            open_cluster(self._inventory) as api,
        ):
            live = LiveObjects.read(api)
            for station in self._stations:
                step.update(station.stage)
                for item in station.sets(api, self._inventory, self._lock):
                    changes += apply_definitions(api, item.name, item.objects, live=live, check=self._go_on).changes
        return changes

    def _go_on(self) -> None:
        if self._ended.is_set():
            raise _EndedError
        self._check()


class _EndedError(Exception):
    """The install ended otherwise; nobody learns of this."""
