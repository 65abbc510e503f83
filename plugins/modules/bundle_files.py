"""Ansible module: fetch a role's binaries from the cluster's registry by digest, and unpack archives."""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.llmprov_fetch import ArtifactError, fetch
from ansible.module_utils.llmprov_host import STATE_DIRECTORY, mode_of, sha256_file, write_atomically

DOCUMENTATION = r"""
module: bundle_files
short_description: Install files and archives of the bundle by digest
description:
  - Downloads each file over HTTP, checks its sha256 while it arrives, and moves it into place.
  - Of an archive the programs (executable files) are put into O(files[].dest), whatever folder of it they are in.
  - The digest of an archive and of its programs is kept in /var/lib/llmprov/archives, so that a program that was
    touched is repaired, and one that a new version no longer has is removed.
  - In check mode nothing is downloaded and the registry need not exist.
options:
  files:
    description: What to install.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {type: str, required: true, description: Name in the bundle.}
      url: {type: str, required: true, description: Address of the blob.}
      sha256: {type: str, required: true, description: Hex digest of the blob.}
      dest: {type: path, required: true, description: Path of the file, or directory for an archive.}
      archive: {type: bool, default: false, description: Unpack a tar archive.}
      mode: {type: str, default: "0755", description: Octal mode of the file or of every member.}
"""

EXAMPLES = r"""
- name: Install the kubelet
  bundle_files:
    files:
      - name: kubelet
        url: http://10.0.0.11:5000/v2/llmprov/files/blobs/sha256:0123
        sha256: "0123"
        dest: /usr/local/bin/kubelet
"""

RETURN = r"""
files:
  description: Path and sha256 of every installed file.
  returned: when not in check mode, or when nothing is to be done
  type: dict
"""

_OPTIONS = {
    "name": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "sha256": {"type": "str", "required": True},
    "dest": {"type": "path", "required": True},
    "archive": {"type": "bool", "default": False},
    "mode": {"type": "str", "default": "0755"},
}
_ABANDONED_S = 600


def _remove_abandoned(directory: Path) -> None:
    """Remove what a run that was killed began to fetch."""
    for path in directory.glob(".llmprov-*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_S:
            path.unlink(missing_ok=True)


def _download(spec: dict[str, Any], directory: Path) -> Path:
    """Fetch a blob into a temporary file beside its destination."""
    directory.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(directory)
    return Path(fetch(spec["name"], spec["url"], spec["sha256"], directory))


def _record_path(spec: dict[str, Any]) -> Path:
    return Path(STATE_DIRECTORY, "archives", f"{spec['name']}.json")


def _recorded(spec: dict[str, Any]) -> dict[str, Any]:
    path = _record_path(spec)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sha256": "", "files": {}}


def _present(spec: dict[str, Any]) -> dict[str, str] | None:
    """Return path and digest of what is installed when it is exactly what is wanted, else None."""
    mode = int(spec["mode"], 8)
    if not spec["archive"]:
        path = Path(spec["dest"])
        good = sha256_file(path) == spec["sha256"] and mode_of(path) == mode
        return {str(path): spec["sha256"]} if good else None
    record = _recorded(spec)
    if record["sha256"] != spec["sha256"]:
        return None
    untouched = all(
        Path(path).parent == Path(spec["dest"]) and sha256_file(Path(path)) == digest
        for path, digest in record["files"].items()
    )
    return record["files"] if untouched else None


def _install_file(spec: dict[str, Any]) -> dict[str, str]:
    destination = Path(spec["dest"])
    temporary = _download(spec, destination.parent)
    temporary.chmod(int(spec["mode"], 8))
    temporary.replace(destination)
    return {str(destination): spec["sha256"]}


def _is_program(member: tarfile.TarInfo) -> bool:
    """Tell programs from the licences and notes that lie beside them."""
    return member.isreg() and bool(member.mode & 0o100)


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, spec: dict[str, Any]) -> tuple[str, str]:
    """Write one member with a fresh modification time: units compare it with their start."""
    source = archive.extractfile(member)
    if source is None:
        raise ArtifactError(f"{spec['name']}: member {member.name} is no regular file")
    content = source.read()
    destination = Path(spec["dest"]) / Path(member.name).name
    write_atomically(destination, content, int(spec["mode"], 8))
    return str(destination), hashlib.sha256(content).hexdigest()


def _install_archive(spec: dict[str, Any]) -> dict[str, str]:
    temporary = _download(spec, STATE_DIRECTORY)
    try:
        with tarfile.open(temporary) as archive:
            files = dict(_unpack_member(archive, member, spec) for member in archive if _is_program(member))
    except tarfile.TarError as error:
        raise ArtifactError(
            f"{spec['name']}: not a tar archive that Python reads (plain, gz, bz2, xz): {error}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    for stale in set(_recorded(spec)["files"]) - set(files):
        Path(stale).unlink(missing_ok=True)
    record = json.dumps({"sha256": spec["sha256"], "files": files}, indent=1, sort_keys=True)
    write_atomically(_record_path(spec), record.encode(), 0o644)
    return files


def _ensure(spec: dict[str, Any], *, check: bool) -> tuple[bool, dict[str, str]]:
    present = _present(spec)
    if present is not None:
        return False, present
    if check:
        return True, {}
    return True, _install_archive(spec) if spec["archive"] else _install_file(spec)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": _OPTIONS}},
        supports_check_mode=True,
    )
    specs = module.params["files"]
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            results = list(pool.map(lambda spec: _ensure(spec, check=module.check_mode), specs))
    except ArtifactError as error:
        module.fail_json(msg=str(error))
    installed = {path: digest for _, files in results for path, digest in files.items()}
    names = [spec["name"] for spec, (changed, _) in zip(specs, results, strict=True) if changed]
    module.exit_json(changed=bool(names), changed_names=names, files=installed)


if __name__ == "__main__":
    main()
