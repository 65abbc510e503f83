"""Back to bare hosts: everything that an install brought is removed, nothing else."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from llmprov import inventory as inventories
from llmprov import paths, runner
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.results import ResetResult
from llmprov.runner import Journal, Options
from llmprov.workflows.host_steps import HostSteps
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
    with journal.whole_run("reset"), progress.step("reset"), closing(steps):
        result = runner.run(
            paths.content_root() / "playbooks" / "reset.yml",
            cluster.path,
            Options(limit=limit),
            journal=journal,
            on_event=steps.take,
            on_output=on_output,
        )
        result.raise_for_failures("reset")
    return ResetResult(result, phases.seconds)
