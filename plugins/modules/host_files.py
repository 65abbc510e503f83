"""Ansible module: bring many small files of a role to their content in one call."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.llmprov_host import mode_of, remove, write_atomically

DOCUMENTATION = r"""
module: host_files
short_description: Write and remove many files in one call
description:
  - Writes whole files atomically, makes their parent directories, and removes paths that must not be there.
  - Works in check mode on a host that has none of the directories yet, and returns a diff for each file.
  - Returns the sha256 of every file it manages, for the stage record.
options:
  files:
    description: The files, whole.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {type: path, required: true, description: Absolute path.}
      content: {type: str, required: true, description: The whole content.}
      mode: {type: str, default: "0644", description: Octal mode.}
      owner: {type: str, default: root, description: Owning user.}
      group: {type: str, default: root, description: Owning group.}
  directories:
    description: Directories that must exist although no file is written into them.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {type: path, required: true, description: Absolute path.}
      mode: {type: str, default: "0755", description: Octal mode.}
  absent:
    description: Files or whole trees to remove. A mount point is emptied and kept.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Write the registry's configuration
  host_files:
    files:
      - path: /etc/llmprov/registry.yml
        content: "{{ registry_configuration | to_nice_yaml }}"
    absent:
      - /etc/llmprov/registry.old.yml
"""

RETURN = r"""
files:
  description: Path and sha256 of every managed file.
  returned: always
  type: dict
changed_paths:
  description: The paths that were (or, in check mode, would be) written or removed.
  returned: always
  type: list
"""

_FILE_OPTIONS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
_DIRECTORY_OPTIONS = {"path": {"type": "path", "required": True}, "mode": {"type": "str", "default": "0755"}}


def _difference(path: Path, before: bytes | None, after: bytes | None) -> dict[str, str]:
    return {
        "before_header": str(path),
        "after_header": str(path),
        "before": "" if before is None else before.decode(errors="replace"),
        "after": "" if after is None else after.decode(errors="replace"),
    }


def _owned_by(path: Path, owner: str, group: str) -> bool:
    status = path.stat()
    return (status.st_uid, status.st_gid) == (pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)


def _ensure_file(spec: dict[str, str], *, check: bool) -> dict[str, str] | None:
    """Bring one file to its state; return the diff, or None when nothing was to do."""
    path, wanted, mode = Path(spec["path"]), spec["content"].encode(), int(spec["mode"], 8)
    present = path.is_file() and not path.is_symlink()
    before = path.read_bytes() if present else None
    if before == wanted and mode_of(path) == mode and _owned_by(path, spec["owner"], spec["group"]):
        return None
    if not check:
        write_atomically(path, wanted, mode)
        os.chown(path, pwd.getpwnam(spec["owner"]).pw_uid, grp.getgrnam(spec["group"]).gr_gid)
    return _difference(path, before, wanted)


def _ensure_directory(spec: dict[str, str], *, check: bool) -> bool:
    path, mode = Path(spec["path"]), int(spec["mode"], 8)
    if path.is_dir() and mode_of(path) == mode:
        return False
    if not check:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
    return True


def _ensure_absent(path: Path, *, check: bool) -> bool:
    """Remove a path; an empty mount point counts as absent."""
    if not path.is_symlink() and path.is_dir() and path.is_mount() and not any(path.iterdir()):
        return False
    if not (path.exists() or path.is_symlink()):
        return False
    return True if check else remove(path)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "default": [], "options": _FILE_OPTIONS},
            "directories": {"type": "list", "elements": "dict", "default": [], "options": _DIRECTORY_OPTIONS},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    parameters, check = module.params, module.check_mode
    changed = [d["path"] for d in parameters["directories"] if _ensure_directory(d, check=check)]
    diffs = [diff for spec in parameters["files"] if (diff := _ensure_file(spec, check=check))]
    changed += [diff["after_header"] for diff in diffs]
    changed += [path for path in parameters["absent"] if _ensure_absent(Path(path), check=check)]
    module.exit_json(
        changed=bool(changed),
        changed_paths=changed,
        diff=diffs,
        files={f["path"]: hashlib.sha256(f["content"].encode()).hexdigest() for f in parameters["files"]},
    )


if __name__ == "__main__":
    main()
