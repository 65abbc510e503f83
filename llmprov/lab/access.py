"""How the controller gets in: known hosts, and an ssh_config and inventory that plain ssh and ansible work with."""

import hashlib
import json
import shutil
from pathlib import Path

import yaml

from llmprov import paths
from llmprov.errors import LabError
from llmprov.lab.base import USER
from llmprov.lab.network import lab_namespace
from llmprov.lab.spec import LabSpec
from llmprov.lab.store import LabFiles, write_whole

_HEADER = "# Written by `llmprov lab up` for lab {name}; `llmprov lab destroy` removes it.\n"


def write(spec: LabSpec, files: LabFiles, inventory: Path, host_keys: dict[str, str]) -> None:
    """Write known_hosts into the lab's files, hosts.yml and ssh.cfg into `inventory`.

    A directory without group_vars first becomes a copy of the packaged lab inventory, so that it is complete.
    """
    known = "".join(f"{host.name},{host.address} {host_keys[host.name]}\n" for host in spec.hosts)
    write_whole(files.known_hosts, known)
    copied = [] if (inventory / "group_vars").is_dir() else _copy_packaged(inventory)
    header = _HEADER.format(name=spec.name)
    write_whole(files.ssh_config, header + ssh_config(spec, files))
    _write_generated(inventory / "hosts.yml", header + hosts_yaml(spec), spec.name)
    _write_generated(inventory / "ssh.cfg", header + ssh_config(spec, files), spec.name)
    _remember(files, [inventory / "hosts.yml", inventory / "ssh.cfg", *copied])


def forget(files: LabFiles) -> None:
    """Remove what `write` put into inventories, except files that somebody has changed since."""
    directories: set[Path] = set()
    for name, digest in _written(files).items():
        file = Path(name)
        if file.exists() and _digest(file) == digest:
            file.unlink()
            directories.update((file.parent, file.parent.parent))
    for directory in sorted(directories, key=lambda path: -len(path.parts)):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def inventories(files: LabFiles) -> tuple[Path, ...]:
    """The inventory directories that were written for the lab."""
    return tuple(sorted({Path(name).parent for name in _written(files) if name.endswith("/ssh.cfg")}))


def hosts_yaml(spec: LabSpec) -> str:
    """The inventory's hosts: names, addresses, groups and how to log in, nothing else."""
    groups: dict[str, dict[str, object]] = {"control_plane": {}, "workers": {}, "gpu_workers": {}}
    for host in spec.hosts:
        for group in host.groups:
            members = groups.setdefault(group, {}).setdefault("hosts", {})
            if isinstance(members, dict):
                members[host.name] = {"ansible_host": str(host.address)}
    groups["workers"]["children"] = {"gpu_workers": {}}
    inventory = {
        "all": {
            "vars": {"ansible_user": USER, "ansible_ssh_common_args": "-F {{ inventory_dir }}/ssh.cfg"},
            "children": groups,
        }
    }
    return yaml.safe_dump(inventory, sort_keys=False)


def ssh_config(spec: LabSpec, files: LabFiles) -> str:
    """An ssh_config for the lab's hosts, by name and by address.

    The proxy connects inside the lab's network namespace, hands the connection to ssh and ends: nothing relays bytes.
    """
    namespace = str(lab_namespace(files.network)).replace("%", "%%")
    names = " ".join(f"{host.name} {host.address}" for host in spec.hosts)
    lines = [
        f"Host {names}",
        f"  User {USER}",
        f'  IdentityFile "{files.key}"',
        "  IdentitiesOnly yes",
        f'  UserKnownHostsFile "{files.known_hosts}"',
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        f"  ProxyCommand nsenter --net='{namespace}' nc -F %h %p",
        "  ProxyUseFdpass yes",
        "  ServerAliveInterval 15",
        "  ServerAliveCountMax 4",
    ]
    for host in spec.hosts:
        lines += [f"Host {host.name}", f"  HostName {host.address}"]
    return "\n".join(lines) + "\n"


def _copy_packaged(inventory: Path) -> list[Path]:
    source = paths.content_root() / "inventories" / "lab"
    if not source.is_dir() or source.resolve() == inventory.resolve():
        return []
    copied = []
    for file in sorted(source.rglob("*")):
        target = inventory / file.relative_to(source)
        if file.is_file() and file.name not in ("hosts.yml", "ssh.cfg") and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            copied.append(target)
    return copied


def _write_generated(file: Path, text: str, lab: str) -> None:
    """Never replaces a file that a person wrote, or that serves another lab."""
    header = _HEADER.format(name=lab)
    if file.exists() and not file.read_text().startswith(header):
        raise LabError(
            f"{file} was not written for lab {lab}, it is left alone",
            remedy="choose another directory with --inventory, or remove the file",
        )
    write_whole(file, text, 0o644)


def _remember(files: LabFiles, written: list[Path]) -> None:
    entries = _written(files) | {str(file.resolve()): _digest(file) for file in written}
    write_whole(files.written, json.dumps(entries, indent=1))


def _written(files: LabFiles) -> dict[str, str]:
    if not files.written.exists():
        return {}
    entries: dict[str, str] = json.loads(files.written.read_text())
    return entries


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
