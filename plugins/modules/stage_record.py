"""Ansible module: leave a stage's record on the host. The action plugin of the same name computes its inputs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.llmprov_host import STATE_DIRECTORY, mode_of, sha256_file, write_atomically
from ansible.module_utils.llmprov_probe_files import is_shown

DOCUMENTATION = r"""
module: stage_record
short_description: Record that a stage is finished on a host
description:
  - Writes /var/lib/llmprov/stages/STAGE.json with the stage's inputs and their fingerprint, the sha256 of every file
    it manages, the units that must run and the versions of its packages.
  - The inputs are digests that are computed on the controller of the role's files, the values of the variables in its
    argument specification and the artifacts of the bundle that the stage puts on the host.
  - Keeps a copy of each managed text file in /var/lib/llmprov/managed, so that a later change can be shown. Only of
    files of up to 64 KiB that every user of the host may read.
  - Unchanged when all but the time is the same as recorded. A record of an older schema, or one that cannot be read, is
    written anew.
options:
  stage: {type: str, required: true, description: Name of the stage; also the name of its role.}
  files: {type: dict, default: {}, description: Path and sha256 of every managed file.}
  units: {type: list, elements: str, default: [], description: The systemd units that must run from now on.}
  packages: {type: dict, default: {}, description: Name and version of every operating-system package installed.}
  inputs: {type: dict, description: Set by the action plugin.}
  fingerprint: {type: str, description: Set by the action plugin.}
  schema: {type: int, description: Set by the action plugin.}
"""

EXAMPLES = r"""
- name: Record the stage
  stage_record:
    stage: runtime
    files: "{{ __runtime_written.files }}"
    units: [containerd.service]
"""

RETURN = r"""
record:
  description: Stage, fingerprint, schema and time of the record.
  returned: always
  type: dict
"""

_COMPARED = ("schema", "stage", "fingerprint", "inputs", "files", "units", "packages")
_SHOWN = ("schema", "stage", "fingerprint", "finished")
_MODE = 0o600


def _read(path: Path) -> dict[str, Any]:
    """Return a record; one that cannot be read counts as none, and is written anew."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _keep_copies(files: dict[str, str], directory: Path) -> None:
    """Keep what was written, by its digest; not what is no text, and not what only some may read."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    for name, digest in files.items():
        path, copy = Path(name), directory / digest
        if copy.exists() or not path.is_file() or not is_shown(path) or sha256_file(path) != digest:
            continue
        content = path.read_bytes()
        if _is_text(content):
            write_atomically(copy, content, _MODE)


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def _forget_copies(records: Path, directory: Path) -> None:
    """Remove the copies of files that no record names any more."""
    files = [_read(path).get("files") for path in records.glob("*.json")]
    named = {str(digest) for item in files if isinstance(item, dict) for digest in item.values()}
    for copy in directory.iterdir():
        if copy.name not in named:
            copy.unlink()


def _write(path: Path, record: dict[str, Any], copies: Path) -> None:
    """Write the record last: a run that is interrupted before it runs the stage again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o755)  # `llmprov status` lists the names, without sudo
    _keep_copies(record["files"], copies)
    write_atomically(path, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode(), _MODE)
    _forget_copies(path.parent, copies)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "stage": {"type": "str", "required": True},
            "files": {"type": "dict", "default": {}},
            "units": {"type": "list", "elements": "str", "default": []},
            "packages": {"type": "dict", "default": {}},
            "inputs": {"type": "dict", "required": True, "no_log": True},
            "fingerprint": {"type": "str", "required": True},
            "schema": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    path = STATE_DIRECTORY / "stages" / f"{module.params['stage']}.json"
    wanted = {key: module.params[key] for key in _COMPARED}
    before = _read(path)
    if {key: before.get(key) for key in wanted} == wanted and mode_of(path) == _MODE:
        module.exit_json(changed=False, record={key: before.get(key) for key in _SHOWN})
    record = {**wanted, "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    if not module.check_mode:
        _write(path, record, STATE_DIRECTORY / "managed")
    module.exit_json(changed=True, record={key: record[key] for key in _SHOWN})


if __name__ == "__main__":
    main()
