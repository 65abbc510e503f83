"""One operator at a time: nobody else changes a cluster while this run does."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from llmprov.cluster.client import Cluster
from llmprov.cluster.lease import LeaseLock
from llmprov.errors import ClusterError, HostConnectionError, LlmprovError
from llmprov.holders import TAKEOVER_SECONDS, Holder, Occupant
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.host_lock import HostLock, over_ssh

RENEW_SECONDS = 15.0
_PATIENCE = 3.0
_AWAY = (HostConnectionError, ClusterError)


class Lock(Protocol):
    """One of the places where the lock is held."""

    @property
    def name(self) -> str:
        """How messages name it."""
        ...

    def take(self, holder: Holder) -> Occupant | None:
        """Take it; return whose it was when it was abandoned."""
        ...

    def renew(self, holder: Holder) -> None:
        """Say that the holder lives."""
        ...

    def release(self, holder: Holder) -> None:
        """Give it back."""
        ...


class ClusterLock:
    """The Lease, over a connection of its own: the work's own waits longer for an API than a lock may.

    Args:
        connect: opens the cluster's API.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Cluster]]) -> None:
        self._connect = connect
        self._lease = LeaseLock()
        self._open = ExitStack()
        self._cluster: Cluster | None = None

    @property
    def name(self) -> str:
        """How messages name it."""
        return self._lease.name

    def take(self, holder: Holder) -> Occupant | None:
        """Take it; see `LeaseLock`."""
        with self._connection() as cluster:
            return self._lease.take(cluster, holder)

    def take_over(self, cluster: Cluster, holder: Holder) -> Occupant | None:
        """Take it through the caller's connection."""
        return self._lease.take(cluster, holder)

    def renew(self, holder: Holder) -> None:
        """Say that the holder lives."""
        with self._connection() as cluster:
            self._lease.renew(cluster, holder)

    def release(self, holder: Holder) -> None:
        """Give it back and hang up."""
        with self._open, self._connection() as cluster:
            self._lease.release(cluster, holder)

    @contextmanager
    def _connection(self) -> Iterator[Cluster]:
        if self._cluster is None:
            self._cluster = self._open.enter_context(self._connect())
        try:
            yield self._cluster
        except _AWAY:
            # A cluster that was made anew has other credentials: the next time begins at the control plane.
            self._cluster = None
            self._open.close()
            raise


class Operator:
    """The right to change a cluster, while it lasts. Made by `only_operator`.

    Attributes:
        lost: set when somebody else has taken over; the work must stop.
    """

    def __init__(self, holder: Holder, locks: Sequence[Lock], progress: Progress) -> None:
        self.lost = threading.Event()
        self._holder = holder
        self._locks = tuple(locks)
        self._progress = progress
        self._held: list[Lock] = []
        self._away: dict[str, LlmprovError] = {}
        self._problem: BaseException | None = None
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self._kept = _now()
        self._thread = threading.Thread(target=self._keep, name="operator-lock", daemon=True)

    def check(self) -> None:
        """Go on only as the one operator.

        After the controller slept, this asks the locks before it says so.

        Raises:
            BusyError: somebody else has taken over.
        """
        if not self.lost.is_set() and not self._ended.is_set() and _now() - self._kept > 2 * RENEW_SECONDS:
            self._guarded()
        if self._problem is not None:
            raise self._problem

    def cluster_is_up(self, cluster: Cluster) -> None:
        """Take the Lease too, as there is an API now.

        Raises:
            BusyError: somebody else holds it.
            ClusterError: the API refuses.
        """
        with self._turn:
            for lock in self._locks:
                if isinstance(lock, ClusterLock) and lock not in self._held:
                    self._taken(lock, lock.take_over(cluster, self._holder))

    def begin(self) -> None:
        """Take every lock that can be reached, and keep them from now on."""
        for lock in self._locks:
            try:
                self._taken(lock, lock.take(self._holder))
            except _AWAY as error:
                self._away[lock.name] = error  # before a cluster is, it has no API
            except BaseException:
                self._release()
                raise
        if not self._held:
            raise self._away[self._locks[0].name]
        self._kept = _now()
        self._thread.start()

    def end(self) -> None:
        """Give back what is held."""
        self._ended.set()
        self._thread.join()
        self._release()

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_SECONDS) and not self.lost.is_set():
            self._guarded()

    def _guarded(self) -> None:
        try:
            with self._turn:
                self._renew()
        except BaseException as error:  # noqa: BLE001 - whatever ends the keeping ends the work; `check` raises it
            self._problem = error
            self.lost.set()

    def _renew(self) -> None:
        self._kept = _now()
        for lock in self._locks:
            try:
                if lock in self._held:
                    lock.renew(self._holder)
                else:  # there is an API now, or the host is back
                    self._taken(lock, lock.take(self._holder))
            except _AWAY as error:
                self._not_kept(lock, error)
            else:
                self._away.pop(lock.name, None)

    def _not_kept(self, lock: Lock, error: LlmprovError) -> None:
        """Say once that a lock cannot be renewed: a control plane that reboots, or an API that a reset took away."""
        if lock in self._held and lock.name not in self._away:
            self._progress.note(
                f"the lock {lock.name} cannot be renewed ({error.message}); "
                f"others may take it over {TAKEOVER_SECONDS} s after its last renewal"
            )
        self._away[lock.name] = error

    def _taken(self, lock: Lock, other: Occupant | None) -> None:
        self._held.append(lock)
        if other is not None:
            self._progress.note(other.takeover)

    def _release(self) -> None:
        for lock in reversed(self._held):
            try:
                lock.release(self._holder)
            except _AWAY as error:
                if lock.name not in self._away:  # else it was said
                    self._progress.note(f"the lock {lock.name} could not be given back: {error.message}")
        self._held.clear()


@contextmanager
def only_operator(inventory: Inventory, verb: str, run_id: str, progress: Progress) -> Iterator[Operator]:
    """Be the only one who changes a cluster while the context lasts.

    Args:
        inventory: of the cluster; its first control plane holds the lock, and its API the Lease once there is one.
        verb: what is done, for whoever comes meanwhile.
        run_id: of the journal.
        progress: gets a note when an abandoned lock is taken over, or one cannot be renewed.

    Raises:
        BusyError: somebody else is at work.
        HostConnectionError: the first control plane cannot be reached and there is no API either.
    """
    host = inventory.host(inventory.settings.first_control_plane)
    locks: tuple[Lock, ...] = (
        HostLock(host.name, over_ssh(host.ssh), host.sudo_password),
        ClusterLock(lambda: open_cluster(inventory, patience=_PATIENCE)),
    )
    with held(Holder.current(verb, run_id), locks, progress) as operator:
        yield operator


@contextmanager
def held(holder: Holder, locks: Sequence[Lock], progress: Progress) -> Iterator[Operator]:
    """Hold these locks while the context lasts; the first one's error counts when none can be reached."""
    operator = Operator(holder, locks, progress)
    operator.begin()
    try:
        yield operator
    except KeyboardInterrupt:
        # Who passes `lost` on as the signal to stop is interrupted by it; why is what the user needs to know.
        operator.check()
        raise
    finally:
        operator.end()
    operator.check()


def _now() -> float:
    # Goes on while the controller sleeps.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
