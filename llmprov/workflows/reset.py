"""Back to bare hosts: everything that an install brought is removed, nothing else."""

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from llmprov import inventory as inventories
from llmprov import paths, runner
from llmprov.errors import HostConnectionError
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.results import ResetResult
from llmprov.runner import Journal, Options
from llmprov.workflows.host_steps import HostSteps
from llmprov.workflows.lock import only_operator
from llmprov.workflows.phases import Phases


def load(path: Path) -> Inventory:
    """Load the inventory, so that the user can be shown what would be reset."""
    return inventories.load(path)


def reset(
    cluster: Inventory, progress: Progress, *, limit: str = "", on_output: Callable[[str], None] | None = None
) -> ResetResult:
    """Reset the hosts of an inventory.

    Args:
        cluster: from `load`.
        progress: shows each host's task.
        limit: only these hosts, an Ansible host pattern.
        on_output: gets Ansible's own output.

    Raises:
        LlmprovError: a host cannot be reached, or could not be reset; the others were.
    """
    journal = Journal.create("reset")
    phases = Phases(journal, progress)
    steps = HostSteps(progress, phases)
    with journal.whole_run("reset", cluster.path), ExitStack() as held, progress.step("reset"), closing(steps):
        stop = _only_operator(cluster, journal, progress, held)
        result = runner.run(
            paths.content_root() / "playbooks" / "reset.yml",
            cluster.path,
            Options(limit=limit),
            journal=journal,
            on_event=steps.take,
            on_output=on_output,
            stop=stop,
        )
        result.raise_for_failures("reset")
    return ResetResult(result, phases.seconds)


def _only_operator(
    cluster: Inventory, journal: Journal, progress: Progress, held: ExitStack
) -> tuple[threading.Event, ...]:
    """Be the only operator; return what says that this is over. A host of a cluster that is gone can be reset, too."""
    try:
        operator = held.enter_context(only_operator(cluster, "reset", journal.run_id, progress))
    except HostConnectionError as error:
        progress.note(f"{error.message}: nothing keeps others from working on these hosts meanwhile")
        return ()
    return (operator.lost,)
