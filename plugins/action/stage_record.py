"""Action plugin: computes a stage's fingerprint on the controller; the module of that name records it on the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from llmprov.stages import RECORD_SCHEMA, fingerprint, role_variables

_COMPARED = ("schema", "stage", "fingerprint", "files")


class ActionModule(ActionBase):
    """Adds `fingerprint` and `schema` to the module's arguments."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the plugin."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        roles = self._roles()
        names = sorted({name for role in roles for name in role_variables(role)})
        values = {name: self._templar.template(variables[name]) for name in names if name in variables}
        arguments = dict(self._task.args)
        arguments["fingerprint"] = fingerprint(roles, values, arguments.get("artifacts") or {})
        arguments["schema"] = RECORD_SCHEMA
        recorded = self._recorded(variables, arguments["stage"])
        if all(recorded.get(key) == (arguments.get(key) or {}) for key in _COMPARED):
            return {"changed": False, "record": recorded}
        return self._execute_module(module_name="stage_record", module_args=arguments, task_vars=variables)

    def _recorded(self, variables: dict[str, Any], stage: str) -> dict[str, Any]:
        """Return the record that host_probe found; it saves the way to the host when nothing is new."""
        facts = variables.get("ansible_facts", {}).get("llmprov", {})
        record: dict[str, Any] = facts.get("records", {}).get(stage, {})
        return record

    def _roles(self) -> tuple[Path, ...]:
        """Return the directories of the task's role and of the roles it depends on."""
        role = self._task._role  # noqa: SLF001 - Ansible offers no public name for the role of a task
        if role is None:
            raise AnsibleActionFail("stage_record must be called from a role: the fingerprint covers the role's files")
        return tuple(Path(item._role_path) for item in (role, *role.get_all_dependencies()))  # noqa: SLF001
