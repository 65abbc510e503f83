"""Runs tasks in parallel, each once what it needs is done; a failure stops only what depends on it."""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from threading import Event

from llmprov.errors import BundleError, LlmprovError


@dataclass
class Outcome[T]:
    """What tasks gave, by name, and why others failed. Tasks that need a failed one are in `skipped`, with its name."""

    done: dict[str, T] = field(default_factory=dict)
    failed: dict[str, LlmprovError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def run_graph[T](
    needs: Mapping[str, tuple[str, ...]],
    work: Callable[[str, Mapping[str, T]], T],
    *,
    jobs: int,
    cancelled: Event,
) -> Outcome[T]:
    """Run `work(name, results so far)` for every name.

    Args:
        needs: what each name waits for; names that are needed must be keys themselves.
        work: runs in a thread; only LlmprovError is a failure of the task, anything else is a defect and raised.
        jobs: how many at once.
        cancelled: set here when the user interrupts, so that running work can stop.
    """
    outcome: Outcome[T] = Outcome()
    sorter = _prepared(needs)
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[T], str] = {}
        try:
            while sorter.is_active():
                for name in sorter.get_ready():
                    if blocker := next((n for n in needs[name] if n in outcome.failed or n in outcome.skipped), None):
                        outcome.skipped[name] = outcome.skipped.get(blocker, blocker)
                        sorter.done(name)
                    else:
                        running[pool.submit(work, name, outcome.done)] = name
                if running:
                    _collect(running, outcome, sorter)
        except BaseException:
            cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return outcome


def _prepared(needs: Mapping[str, tuple[str, ...]]) -> TopologicalSorter[str]:
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        raise BundleError(
            f"artifacts need each other in a circle: {' → '.join(error.args[1])}", remedy="correct needs in the catalog"
        ) from error
    return sorter


def _collect[T](running: dict[Future[T], str], outcome: Outcome[T], sorter: TopologicalSorter[str]) -> None:
    finished, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in finished:
        name = running.pop(future)
        try:
            outcome.done[name] = future.result()
        except LlmprovError as error:
            outcome.failed[name] = error
        sorter.done(name)
