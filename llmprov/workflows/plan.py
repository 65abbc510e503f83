"""`llmprov plan`: what an install would do, found out without changing anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmprov import inventory as inventories
from llmprov.bundle.lock import BundleLock
from llmprov.errors import InventoryError
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.stages import STAGES, Stage, stages_until
from llmprov.workflows.survey import Survey, survey


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to plan.

    Attributes:
        inventory: directory or hosts file.
        limit: only these hosts, an Ansible host pattern; empty for all.
        until: last stage; empty for all.
        diff: also how files differ that somebody else changed.
    """

    inventory: Path
    limit: str = ""
    until: str = ""
    diff: bool = False


def plan(request: Request, progress: Progress) -> Survey:
    """Compare what is there with what should be.

    Raises:
        LlmprovError: the inventory or the bundle cannot be read, or a newer llmprov has worked on a host.
    """
    with progress.step("inventory"):
        inventory = inventories.load(request.inventory)
    for warning in inventory.warnings:
        progress.note(warning)
    lock = BundleLock.load(inventory.settings.bundle_dir)
    return survey(
        inventory,
        lock,
        chosen_stages(request.until),
        progress,
        chosen=chosen_hosts(inventory, request.limit),
        diff=request.diff,
    )


def chosen_stages(until: str) -> Sequence[Stage]:
    """Return the stages up to one, or all."""
    return stages_until(until) if until else STAGES


def chosen_hosts(inventory: Inventory, limit: str) -> tuple[str, ...]:
    """Return the names of the hosts that a pattern chooses; empty for all.

    Raises:
        InventoryError: it chooses none.
    """
    if not limit:
        return ()
    found = inventory.ansible.matching(limit)
    if not found:
        raise InventoryError(
            f"--limit {limit!r} matches no host of the inventory",
            remedy="`llmprov inventory show` lists hosts and groups",
        )
    return found
