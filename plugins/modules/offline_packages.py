"""Ansible module: install the bundle's Debian packages without any package source, and take them away again."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.llmprov_fetch import ArtifactError, fetch
from ansible.module_utils.llmprov_host import STATE_DIRECTORY, write_atomically

DOCUMENTATION = r"""
module: offline_packages
short_description: Install Debian packages of the bundle by digest
description:
  - Downloads what is missing or older from the cluster's registry, checks the sha256, and installs all of it in one apt
    transaction that sees no package source. Needs neither python3-apt nor internet.
  - A package that is there in the same or a newer version is left alone; nothing is downgraded.
  - Remembers what it installed in /var/lib/llmprov/packages.json, holds it, and O(state=absent) purges exactly that.
options:
  packages:
    description: The packages with their dependencies.
    type: list
    elements: dict
    default: []
    suboptions:
      package: {type: str, required: true, description: Debian package name.}
      version: {type: str, required: true, description: Debian version.}
      url: {type: str, required: true, description: Address of the blob.}
      sha256: {type: str, required: true, description: Hex digest of the blob.}
  state:
    description: V(present) installs O(packages); V(absent) purges what an earlier run installed.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Install operating-system packages
  offline_packages:
    packages:
      - package: nftables
        version: 1.1.3-1
        url: http://10.0.0.11:5000/v2/llmprov/files/blobs/sha256:0123
        sha256: "0123"
"""

RETURN = r"""
installed:
  description: Names of the packages that were installed or purged.
  returned: always
  type: list
packages:
  description: Name of each of O(packages) and the version that is on the host; in check mode the one that would be.
  returned: always
  type: dict
"""

_OPTIONS = {
    "package": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "sha256": {"type": "str", "required": True},
}
_RECORD = STATE_DIRECTORY / "packages.json"
_DOWNLOADS = STATE_DIRECTORY / "debs"
# No package sources: what the host has configured must not be asked, it may hang or answer with other versions.
_APT = [
    "apt-get", "--yes", "--quiet", "--no-install-recommends", "--allow-change-held-packages",
    "-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=/dev/null",
    "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
    # An interrupted run may have left one at work: its lock is waited for.
    "-o", "DPkg::Lock::Timeout=120",
    # No fsync for each file: a host that loses power during its installation is installed again.
    "-o", "Dpkg::Options::=--force-unsafe-io",
]  # fmt: skip
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def _run(module: AnsibleModule, command: list[str]) -> str:
    status, output, errors = module.run_command(command, environ_update=_ENVIRONMENT)
    if status:
        module.fail_json(msg=f"{' '.join(command[:2])} failed: {errors.strip() or output.strip()}", rc=status)
    return str(output)


def _installed_versions(module: AnsibleModule) -> dict[str, str]:
    listing = _run(module, ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${db:Status-Status}\n"])
    rows = (line.split() for line in listing.splitlines())
    return {row[0]: row[1] for row in rows if row[-1] == "installed"}


def _is_older(module: AnsibleModule, installed: str, wanted: str) -> bool:
    status, _, _ = module.run_command(["dpkg", "--compare-versions", installed, "lt", wanted])
    return bool(status == 0)


def _fetch(module: AnsibleModule, spec: dict[str, Any]) -> str:
    target = _DOWNLOADS / f"{spec['package']}.deb"
    try:
        fetch(spec["package"], spec["url"], spec["sha256"], _DOWNLOADS).replace(target)
        target.chmod(0o644)  # apt reads as its own user
    except ArtifactError as error:
        module.fail_json(msg=str(error))
    return str(target)


def _recorded() -> list[str]:
    return json.loads(_RECORD.read_text(encoding="utf-8")) if _RECORD.exists() else []


def _install(module: AnsibleModule, wanted: list[dict[str, Any]], versions: dict[str, str]) -> list[str]:
    missing = [
        spec
        for spec in wanted
        if spec["package"] not in versions or _is_older(module, versions[spec["package"]], spec["version"])
    ]
    names = [spec["package"] for spec in missing]
    if not missing or module.check_mode:
        return names
    _finish_interrupted(module)
    # Recorded before apt runs: a reset after an interrupted installation must still know what to purge.
    record = sorted({*_recorded(), *(name for name in names if name not in versions)})
    write_atomically(_RECORD, json.dumps(record).encode(), 0o644)
    _DOWNLOADS.mkdir(parents=True, exist_ok=True)
    try:
        _run(module, [*_APT, "install", *(_fetch(module, spec) for spec in missing)])
    finally:
        shutil.rmtree(_DOWNLOADS)
    _run(module, ["apt-mark", "hold", *names])
    return names


def _finish_interrupted(module: AnsibleModule) -> None:
    """Complete what an interrupted dpkg left; apt refuses to do anything before that."""
    if module.run_command([*_APT, "check"], environ_update=_ENVIRONMENT)[0]:
        _run(module, ["dpkg", "--force-confdef", "--force-confold", "--configure", "--pending"])


def _purge(module: AnsibleModule) -> list[str]:
    versions = _installed_versions(module)
    names = [name for name in _recorded() if name in versions]
    if names and not module.check_mode:
        _finish_interrupted(module)
        _run(module, [*_APT, "purge", *names])
    if not module.check_mode:
        _RECORD.unlink(missing_ok=True)
    return names


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "dict", "default": [], "options": _OPTIONS},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    # apt and dpkg need the system directories, which some sudo configurations drop.
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    if module.params["state"] == "absent":
        names = _purge(module)
        module.exit_json(changed=bool(names), installed=names, packages={})
    wanted = module.params["packages"]
    versions = _installed_versions(module)
    names = _install(module, wanted, versions)
    if names and not module.check_mode:
        versions = _installed_versions(module)
    else:
        versions.update({spec["package"]: spec["version"] for spec in wanted if spec["package"] in names})
    present = {spec["package"]: versions[spec["package"]] for spec in wanted}
    module.exit_json(changed=bool(names), installed=names, packages=present)


if __name__ == "__main__":
    main()
