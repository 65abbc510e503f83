"""Verbs that change a cluster: each has a journal, and changes it as the only operator."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.runner import Journal
from llmprov.workflows.lock import Operator, only_operator

type Alone = Callable[[], AbstractContextManager[Operator]]
"""Makes the caller the only operator for as long as a context lasts."""


@contextmanager
def journaled(inventory: Inventory, verb: str, progress: Progress) -> Iterator[Alone]:
    """Journal a verb; what is yielded keeps others away for the part of it that changes something."""
    journal = Journal.create(verb.replace(" ", "-"))
    with journal.whole_run(verb, inventory.path):
        yield lambda: only_operator(inventory, verb, journal.run_id, progress)


@contextmanager
def operating(inventory: Inventory, verb: str, progress: Progress) -> Iterator[Callable[[], None]]:
    """Be the cluster's only operator for a whole verb; yields what raises once another has taken over.

    Raises:
        BusyError: somebody else is at work.
    """
    with journaled(inventory, verb, progress) as alone, alone() as operator:
        yield operator.check
