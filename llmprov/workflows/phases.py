"""Which part of a long verb took how long: for the table at its end, the journal and the benchmarks."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from llmprov.progress import Progress, Step
from llmprov.results import Phase
from llmprov.runner import Journal


class Phases:
    """Collects the phases of one run, from any thread, and journals each when it ends."""

    def __init__(self, journal: Journal, progress: Progress) -> None:
        self._journal = journal
        self._progress = progress
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._phases: list[Phase] = []

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    @property
    def table(self) -> tuple[Phase, ...]:
        """All ended phases in the order of their beginning."""
        with self._lock:
            return tuple(sorted(self._phases, key=lambda phase: phase.started))

    @contextmanager
    def phase(self, name: str, *, beside: bool = False) -> Iterator[Step]:
        """Time the context as a phase and show it as a step."""
        with self.timed(name, beside=beside), self._progress.step(name) as step:
            yield step

    @contextmanager
    def timed(self, name: str, *, beside: bool = False) -> Iterator[None]:
        """Time the context as a phase; what runs in it shows itself."""
        started = self.seconds
        yield
        self.add(name, started, self.seconds - started, beside=beside)

    def answered(self) -> None:
        """Journal that every model answers by now: what a user waits for, though more may be checked after it."""
        self._journal.record("answer", seconds=round(self.seconds, 3))

    def add(self, name: str, started: float, seconds: float, *, beside: bool = False) -> None:
        """Record a phase that was timed elsewhere."""
        phase = Phase(name, round(started, 3), round(seconds, 3), beside)
        with self._lock:
            self._phases.append(phase)
        self._journal.record("phase", name=name, started=phase.started, seconds=phase.seconds, beside=beside)
