"""The values of all role variables on one host, as its roles will see them: stages' fingerprints are made of them."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from llmprov.errors import InventoryError
from llmprov.inventory.source import AnsibleSource, UnresolvedError
from llmprov.stages import role_variables


class Resolver:
    """What of an inventory only Ansible can answer; it keeps Ansible's own view of the inventory for that.

    Args:
        source: the inventory as Ansible sees it.
        roles: the directory of all roles.
        shared: defaults of the role that all others depend on.
    """

    def __init__(self, source: AnsibleSource, roles: Path, shared: Mapping[str, object]) -> None:
        self._source = source
        self._roles = roles
        self._shared = shared

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Return the names of the hosts that an Ansible host pattern chooses."""
        return self._source.group_order(pattern)

    def role_values(self, host: str, facts: Mapping[str, object]) -> Mapping[str, object]:
        """Return every role variable that bears on a host, by name, resolved.

        Args:
            host: a host of the inventory.
            facts: what a probe found there; templates may use it as `ansible_facts.llmprov`.

        Raises:
            InventoryError: a variable cannot be resolved.
        """
        try:
            return self._source.resolve_all(host, self._names, self._defaults, {"llmprov": facts})
        except UnresolvedError as error:
            raise InventoryError(f"host {host}: {error}", remedy=error.remedy) from error

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(sorted({name for role in self._each_role for name in role_variables(role)}))

    @cached_property
    def _defaults(self) -> Mapping[str, object]:
        found: dict[str, object] = {}
        for role in self._each_role:
            found |= self._source.load_defaults(role / "defaults" / "main.yml")
        return {**found, **self._shared}

    @property
    def _each_role(self) -> list[Path]:
        return sorted(path.parent.parent for path in self._roles.glob("*/meta/argument_specs.yml"))
