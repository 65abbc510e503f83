"""Action plugin: computes a stage's inputs on the controller; the module of that name records them on the host."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from llmprov.stages import RECORD_SCHEMA, find_stage, fingerprint, role_variables, stage_artifacts, stage_inputs

_LOCK = "bundle.lock.json"
# The fingerprint stands for the inputs: facts have none.
_COMPARED = {"schema": 0, "stage": "", "fingerprint": "", "files": {}, "units": [], "packages": {}}
_SHOWN = ("schema", "stage", "fingerprint", "finished")


class ActionModule(ActionBase):
    """Adds `inputs`, `fingerprint` and `schema` to the module's arguments."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the plugin."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        arguments["inputs"] = self._inputs(arguments["stage"], variables)
        arguments["fingerprint"] = fingerprint(arguments["inputs"])
        arguments["schema"] = RECORD_SCHEMA
        recorded = self._recorded(variables, arguments["stage"])
        if all(recorded.get(key) == (arguments.get(key) or empty) for key, empty in _COMPARED.items()):
            return {"changed": False, "record": {key: recorded.get(key) for key in _SHOWN}}
        return self._execute_module(module_name="stage_record", module_args=arguments, task_vars=variables)

    def _inputs(self, stage: str, variables: dict[str, Any]) -> dict[str, str]:
        """Return the digest of everything that bears on the stage on this host, by name."""
        roles = self._roles()
        names = sorted({name for role in roles for name in role_variables(role)})
        values = {name: self._templar.template(variables[name]) for name in names if name in variables}
        return stage_inputs(roles, values, self._artifacts(stage, variables))

    def _artifacts(self, name: str, variables: dict[str, Any]) -> dict[str, str]:
        try:
            stage = find_stage(name)
        except KeyError as error:
            raise AnsibleActionFail(f"llmprov/stages.py has no stage {name}") from error
        directory = Path(str(self._templar.template(variables.get("cluster_bundle_dir", ""))))
        codename = str(_facts(variables).get("os", {}).get("codename", ""))
        return stage_artifacts(stage, _bundle(directory), codename)

    def _recorded(self, variables: dict[str, Any], stage: str) -> dict[str, Any]:
        """Return the record that host_probe found; it saves the way to the host when nothing is new."""
        record = _facts(variables).get("records", {}).get(stage)
        return record if isinstance(record, dict) else {}

    def _roles(self) -> tuple[Path, ...]:
        """Return the directories of the task's role and of the roles it depends on."""
        role = self._task._role  # noqa: SLF001 - Ansible offers no public name for the role of a task
        if role is None:
            raise AnsibleActionFail("stage_record must be called from a role: its files are part of the stage's inputs")
        return tuple(Path(item._role_path) for item in (role, *role.get_all_dependencies()))  # noqa: SLF001


def _facts(variables: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = variables.get("ansible_facts", {}).get("llmprov", {})
    return facts


def _bundle(directory: Path) -> tuple[dict[str, Any], ...]:
    """Return the artifacts of a bundle; none where there is no bundle, as roles that need one have failed by then."""
    lock = directory / _LOCK
    return _artifacts_of(lock, lock.stat().st_mtime_ns) if lock.is_file() else ()


@functools.lru_cache(maxsize=4)
def _artifacts_of(lock: Path, modified_ns: int) -> tuple[dict[str, Any], ...]:  # noqa: ARG001 - a key
    return tuple(json.loads(lock.read_text(encoding="utf-8"))["artifacts"])
