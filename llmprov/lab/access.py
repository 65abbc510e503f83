"""How the controller gets in: known hosts, and an ssh_config and inventory that plain ssh and ansible work with."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from llmprov import paths
from llmprov.errors import LabError
from llmprov.lab.base import USER
from llmprov.lab.network import lab_namespace
from llmprov.lab.spec import LabSpec
from llmprov.lab.store import LabFiles, write_whole


@dataclass(frozen=True)
class _Written:
    """What `write` put where: digests of files by path, and directories that were not there before."""

    files: dict[str, str]
    directories: list[str]


_GENERATED = ("hosts.yml", "ssh.cfg")
_HEADER = "# Written by `llmprov lab up` for lab {name}; `llmprov lab destroy` removes it.\n"


def write(spec: LabSpec, files: LabFiles, inventory: Path, host_keys: dict[str, str]) -> None:
    """Write known_hosts into the lab's files, hosts.yml and ssh.cfg into `inventory`.

    A directory without group_vars first becomes a copy of the packaged lab inventory, so that it is complete.
    """
    known = "".join(f"{host.name},{host.address} {host_keys[host.name]}\n" for host in spec.hosts)
    write_whole(files.known_hosts, known)
    header = _HEADER.format(name=spec.name)
    config = header + ssh_config(spec, files)
    write_whole(files.ssh_config, config)
    generated = {inventory / "hosts.yml": header + hosts_yaml(spec), inventory / "ssh.cfg": config}
    for file in generated:
        _refuse_foreign(file, spec.name)
    contents = generated | ({} if (inventory / "group_vars").is_dir() else _packaged(inventory))
    missing = {parent for file in contents for parent in file.parents if not parent.exists()}
    # Remembered before it is done: an interrupted `up` leaves nothing that `destroy` does not know.
    _remember(files, contents, missing)
    for file, text in contents.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text, 0o644)


def forget(files: LabFiles) -> None:
    """Remove what `write` put into inventories, except files that somebody has changed since."""
    written = _written(files)
    for name, digest in written.files.items():
        file = Path(name)
        if file.exists() and _digest(file.read_bytes()) == digest:
            file.unlink()
    for directory in sorted(map(Path, written.directories), key=lambda path: -len(path.parts)):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def inventories(files: LabFiles) -> tuple[Path, ...]:
    """The inventory directories that were written for the lab."""
    return tuple(sorted({Path(name).parent for name in _written(files).files if name.endswith("/ssh.cfg")}))


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
        f"  ProxyCommand nsenter --net='{namespace}' nc -F -w 10 %h %p",
        "  ProxyUseFdpass yes",
        "  ServerAliveInterval 15",
        "  ServerAliveCountMax 4",
    ]
    for host in spec.hosts:
        lines += [f"Host {host.name}", f"  HostName {host.address}"]
    return "\n".join(lines) + "\n"


def _packaged(inventory: Path) -> dict[Path, str]:
    """The files of the packaged lab inventory that `inventory` lacks."""
    source = paths.content_root() / "inventories" / "lab"
    files = [file for file in sorted(source.rglob("*")) if file.is_file() and file.name not in _GENERATED]
    targets = {inventory / file.relative_to(source): file.read_text() for file in files}
    return {target: text for target, text in targets.items() if not target.exists()}


def _refuse_foreign(file: Path, lab: str) -> None:
    """Never replace a file that a person wrote, or that serves another lab."""
    header = _HEADER.format(name=lab)
    if file.exists() and not file.read_text().startswith(header):
        raise LabError(
            f"{file} was not written for lab {lab}, it is left alone",
            remedy="choose another directory with --inventory, or remove the file",
        )


def _remember(files: LabFiles, contents: dict[Path, str], missing: set[Path]) -> None:
    before = _written(files)
    now = _Written(
        before.files | {str(file.resolve()): _digest(text.encode()) for file, text in contents.items()},
        sorted({*before.directories, *(str(directory.resolve()) for directory in missing)}),
    )
    write_whole(files.written, json.dumps(asdict(now), indent=1))


def _written(files: LabFiles) -> _Written:
    return _Written(**json.loads(files.written.read_text())) if files.written.exists() else _Written({}, [])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
