"""What makes one host differ from the next: name, machine id, SSH host key, who may log in."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from llmprov.lab.base import USER, USER_ID
from llmprov.lab.spec import HostSpec, LabSpec
from llmprov.lab.tools import run

INIT = "/usr/local/lib/lab/init"
_PRODUCT_UUID = "/usr/local/lib/lab/product_uuid"
_INIT_SCRIPT = f"""\
#!/bin/sh
# First process of a lab host. nspawn starts containers with read-only control groups and without mount propagation;
# a server has neither restriction. Being inside, this holds for every boot, also one that was asked for inside.
while read -r _ target kind _; do
    case $kind in cgroup|cgroup2) mount -o remount,bind,rw "$target" ;; esac
done < /proc/self/mounts
mount --make-rshared /
# All hosts share one machine's firmware; Kubernetes wants a product UUID per node.
if [ -e /sys/class/dmi/id/product_uuid ]; then
    mount --bind {_PRODUCT_UUID} /sys/class/dmi/id/product_uuid
fi
exec /sbin/init "$@"
"""


@dataclass(frozen=True)
class _File:
    path: str
    text: str
    mode: int = 0o644
    owner: int = 0


def seed(spec: LabSpec, host: HostSpec, root: Path, base: Path, public_key: str) -> str:
    """Write a host's own files into `root`, the empty upper layer of its file system above `base`.

    Returns:
        The host's public key, as `ssh-ed25519 AAAA…`.
    """
    host_key = make_key(root.parent / "ssh_host_ed25519_key", comment=f"root@{host.name}")
    private = root.parent / "ssh_host_ed25519_key"
    for file in (
        *_identity_files(spec, host),
        *_login_files(spec, public_key),
        _File("etc/ssh/ssh_host_ed25519_key", private.read_text(), 0o600),
        _File("etc/ssh/ssh_host_ed25519_key.pub", host_key + "\n"),
        _File(INIT.lstrip("/"), _INIT_SCRIPT, 0o755),
    ):
        _write(root, file)
    if spec.sudo_password is not None:
        _write(root, _File("etc/shadow", _shadow(base, spec.sudo_password), 0o640))
    return host_key


def make_key(private: Path, comment: str) -> str:
    """Make an ed25519 key pair unless it is there, and return its public half."""
    public = private.with_name(private.name + ".pub")
    if not public.exists():
        private.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(private)])
    return public.read_text().strip()


def machine_id(spec: LabSpec, host: HostSpec) -> str:
    """32 hexadecimal digits, the same each time this host of this lab is made."""
    return hashlib.sha256(f"llmprov lab {spec.name} {host.name}".encode()).hexdigest()[:32]


def _identity_files(spec: LabSpec, host: HostSpec) -> tuple[_File, ...]:
    identity = machine_id(spec, host)
    uuid = "-".join((identity[:8], identity[8:12], identity[12:16], identity[16:20], identity[20:]))
    return (
        _File("etc/hostname", f"{host.name}\n"),
        _File(
            "etc/hosts", f"127.0.0.1\tlocalhost\n127.0.1.1\t{host.name}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        ),
        # A rack's servers name a resolver; here nobody answers there, and says so at once.
        _File("etc/resolv.conf", f"nameserver {spec.gateway}\n"),
        _File("etc/machine-id", f"{identity}\n", 0o444),
        _File(_PRODUCT_UUID.lstrip("/"), f"{uuid}\n", 0o400),
    )


def _login_files(spec: LabSpec, public_key: str) -> tuple[_File, ...]:
    rule = f"{USER} ALL=(ALL:ALL) " + ("NOPASSWD: ALL" if spec.sudo_password is None else "ALL")
    return (
        _File(f"home/{USER}/.ssh/authorized_keys", public_key + "\n", 0o600, USER_ID),
        _File(f"etc/sudoers.d/{USER}", rule + "\n", 0o440),
    )


def _shadow(base: Path, password: str) -> str:
    hashed = run(["openssl", "passwd", "-6", "-stdin"], stdin=password + "\n").strip()
    lines = (base / "etc/shadow").read_text().splitlines()
    return "".join(_with_hash(line, hashed) + "\n" for line in lines)


def _with_hash(line: str, hashed: str) -> str:
    name, _, rest = line.split(":", 2)
    return f"{name}:{hashed}:{rest}" if name == USER else line


def _write(root: Path, file: _File) -> None:
    target = root / file.path
    _make_parents(root, target.parent, file.owner)
    target.write_text(file.text)
    target.chmod(file.mode)
    shutil.chown(target, file.owner, file.owner)


def _make_parents(root: Path, directory: Path, owner: int) -> None:
    """A directory of the upper layer hides the mode and owner of the one below it, so both have to be right."""
    if directory == root or directory.is_dir():
        return
    _make_parents(root, directory.parent, owner)
    directory.mkdir()
    private = directory.parent.name in {"home", USER}
    directory.chmod(0o700 if private else 0o755)
    if private:
        shutil.chown(directory, owner, owner)
