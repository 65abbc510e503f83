"""Load that runs in the background of a test."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from tests.load.client import Endpoint, inside
from tests.load.generator import Outcome, Plan, Report, run


class Running:
    """Load under way; its report grows, and is whole once the context has ended."""

    def __init__(self, endpoint: Endpoint, plan: Plan, network: str) -> None:
        self.report = Report()
        self._endpoint = endpoint
        self._plan = plan
        self._network = network
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="load", daemon=True)

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """What is known so far."""
        return tuple(self.report.outcomes)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def end(self) -> None:
        """Send no more, and wait for the answers that are under way."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _work(self) -> None:
        try:
            with inside(self._network) if self._network else nullcontext():
                self._loop.run_until_complete(run(self._endpoint, self._plan, self._stop, self.report))
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            self._failed = error


@contextmanager
def load(endpoint: Endpoint, plan: Plan, network: str = "") -> Iterator[Running]:
    """Keep up load for as long as the context lasts.

    Args:
        endpoint: where to.
        plan: what to send.
        network: file of the lab's network namespace, from which requests are sent; empty: this machine's own.
    """
    running = Running(endpoint, plan, network)
    running.start()
    try:
        yield running
    finally:
        running.end()
