"""One call that finds out everything a plan needs to know about a host.

It writes nothing but its memory of digests in /run, which is gone with the next boot. Runs on the host's own Python
(3.10 or later); the standard library only. The modules that it needs (host, facts, files) are sent along by whoever
does not use Ansible: ansible.module_utils.llmprov_host, llmprov_probe_facts, llmprov_probe_files.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.llmprov_probe_facts import facts, read_records
from ansible.module_utils.llmprov_probe_files import file_states

_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState")
_REPOSITORIES = "docker/registry/v2/repositories"
_TIMEOUT_S = 20
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def probe(*, root: str = "/", registry: str = "", diff: bool = False) -> dict[str, Any]:
    """Return facts, boot id, records, and the state of all files, units and packages that records name.

    Args:
        root: where files are looked for; another one than / is for tests.
        registry: directory of the registry's blobs; empty where there is none.
        diff: whether to say how text files differ from what was written.
    """
    top = Path(root)
    records, unreadable = read_records(top)
    named = [record for record in records.values() if isinstance(record, dict)]
    return {
        "facts": facts(top),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        "records": records,
        "unreadable": unreadable,
        "files": file_states(_entries(named, "files"), top, diff=diff),
        "units": unit_states(_names(named, "units")),
        "packages": package_versions(_names(named, "packages"), top),
        "images": registry_content(top / registry.lstrip("/")) if registry else {},
    }


def unit_states(names: list[str]) -> dict[str, dict[str, str]]:
    """Return LoadState, ActiveState and UnitFileState of units, by one question to systemd."""
    if not names:
        return {}
    output = _run(["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *names])
    # One paragraph a unit, in the order of the question; its Id would be that of what an alias stands for.
    answers = [dict(line.split("=", 1) for line in part.splitlines()) for part in output.strip().split("\n\n")]
    if len(answers) != len(names):
        raise RuntimeError(f"systemctl show told of {len(answers)} units, asked for {len(names)}")
    return {
        name: {key: answer.get(key, "") for key in _PROPERTIES} for name, answer in zip(names, answers, strict=True)
    }


def package_versions(names: list[str], root: Path) -> dict[str, str | None]:
    """Return the version of each package, None where it is not installed, by one question to dpkg."""
    if not names:
        return {}
    format_ = "${Package} ${Version} ${db:Status-Status}\n"
    database = f"--admindir={root / 'var/lib/dpkg'}"
    rows = (line.split() for line in _run(["dpkg-query", database, "--show", "--showformat", format_]).splitlines())
    installed = {row[0]: row[1] for row in rows if row[-1] == "installed"}
    return {name: installed.get(name) for name in names}


def registry_content(directory: Path) -> dict[str, str]:
    """Return the digest of each `repository:tag` of a registry, from the CNCF distribution's storage layout."""
    repositories = directory / _REPOSITORIES
    found: dict[str, str] = {}
    for path, folders, _ in os.walk(repositories, onerror=_raise) if repositories.is_dir() else ():
        # Names of repositories never begin with an underscore; layers and uploads are of no interest.
        tags = Path(path, "_manifests", "tags") if "_manifests" in folders else None
        folders[:] = sorted(name for name in folders if not name.startswith("_"))
        for tag in sorted(tags.iterdir()) if tags and tags.is_dir() else []:
            link = tag / "current" / "link"
            if link.is_file():  # not there while the tag is being pushed
                name = f"{Path(path).relative_to(repositories)}:{tag.name}"
                found[name] = link.read_text(encoding="ascii").strip()
    return found


def _raise(error: OSError) -> None:
    raise error


def _entries(records: list[dict[str, Any]], key: str) -> dict[str, str]:
    """Return one dictionary of all records' dictionaries; what is none in a damaged record counts for nothing."""
    parts = [record[key] for record in records if isinstance(record.get(key), dict)]
    return {str(name): str(value) for part in parts for name, value in part.items()}


def _names(records: list[dict[str, Any]], key: str) -> list[str]:
    parts = [record[key] for record in records if isinstance(record.get(key), (list, dict))]
    return sorted({str(name) for part in parts for name in part})


def _run(command: list[str]) -> str:
    # sudo may hand over a PATH without the system's directories; what is on it counts first all the same.
    path = f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}".lstrip(":")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
