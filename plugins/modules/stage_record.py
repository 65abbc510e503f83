"""Ansible module: leave a stage's record on the host. The action plugin of the same name computes the fingerprint."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.llmprov_host import STATE_DIRECTORY, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTATION = r"""
module: stage_record
short_description: Record that a stage is finished on a host
description:
  - Writes /var/lib/llmprov/stages/STAGE.json with the stage's fingerprint and the sha256 of every file it manages.
  - The fingerprint is computed on the controller from the role's files, the values of the variables in its argument
    specification and the digests of the artifacts it installs.
  - Unchanged when fingerprint and files are the same as recorded.
options:
  stage: {type: str, required: true, description: Name of the stage; also the name of its role.}
  files: {type: dict, default: {}, description: Path and sha256 of every managed file.}
  artifacts: {type: dict, default: {}, description: Name and sha256 of every artifact used; read on the controller.}
  fingerprint: {type: str, description: Set by the action plugin.}
  schema: {type: int, description: Set by the action plugin.}
"""

EXAMPLES = r"""
- name: Record the stage
  stage_record:
    stage: runtime
    files: "{{ __runtime_written.files }}"
"""

RETURN = r"""
record:
  description: The record as it is on the host.
  returned: always
  type: dict
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "stage": {"type": "str", "required": True},
            "files": {"type": "dict", "default": {}},
            "artifacts": {"type": "dict", "default": {}},
            "fingerprint": {"type": "str", "required": True},
            "schema": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    path: Path = STATE_DIRECTORY / "stages" / f"{parameters['stage']}.json"
    wanted = {key: parameters[key] for key in ("schema", "stage", "fingerprint", "files")}
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if {key: before.get(key) for key in wanted} == wanted:
        module.exit_json(changed=False, record=before)
    record = {**wanted, "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    if not module.check_mode:
        write_atomically(path, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode(), 0o644)
    module.exit_json(changed=True, record=record)


if __name__ == "__main__":
    main()
