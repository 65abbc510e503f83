"""From files to a valid inventory: read, check, raise every error at once."""

from pathlib import Path

from llmprov.errors import InventoryError
from llmprov.inventory.values import Inventory


def load(path: Path) -> Inventory:
    """Read and check an inventory.

    Args:
        path: a directory with `hosts.yml`, `group_vars/` and `models/`, or a hosts file; as `ansible -i` takes it.

    Returns:
        The inventory; what is allowed but unwise is in its `warnings`.

    Raises:
        InventoryError: with one line for each thing that is wrong.
    """
    if not path.exists():
        raise InventoryError(
            f"there is no inventory at {path}",
            remedy=f"name an existing directory or hosts file with -i, or write a new one: llmprov init {path}",
        )
    from llmprov.inventory.build import build  # noqa: PLC0415 - Ansible takes 0.4 s to import: only for those who load

    return build(path)
