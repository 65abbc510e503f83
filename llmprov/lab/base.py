"""The root file system a host starts from: a minimal Debian server, made once per recipe and shared read-only."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmprov import paths
from llmprov.lab.spec import Suite
from llmprov.lab.tools import run
from llmprov.progress import NullProgress, Progress

# What a server has after a minimal installation. What a role needs beyond this, the role installs.
_PACKAGES = (
    "apt-utils",
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "libpam-systemd",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)
# udev would replay the machine's real devices in every host; consoles do not exist; the timers would
# take dpkg's lock or trim the machine's own disk at a moment nobody chose.
_MASKED = (
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "systemd-udev-settle.service",
    "console-getty.service",
    "getty@tty1.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "fstrim.timer",
)
_SSHD = "PermitRootLogin no\\nPasswordAuthentication no\\nKbdInteractiveAuthentication no\\n"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
USER = "ops"
USER_ID = 1000

# Run outside the new root, whose path is $1. Identity belongs to a host, never to the base.
_CUSTOMISE = (
    f'chroot "$1" useradd --uid {USER_ID} --create-home --shell /bin/bash {USER}',
    'rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname "$1"/etc/resolv.conf',
    ': > "$1"/etc/machine-id',
    f'printf "{_SSHD}" > "$1"/etc/ssh/sshd_config.d/50-site.conf',
    *(f'ln -sf /dev/null "$1"/etc/systemd/system/{unit}' for unit in _MASKED),
    'rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/cache/apt/*.bin',
)


def ensure(suite: Suite | str, progress: Progress | None = None) -> Path:
    """Return the root directory of a bare host of `suite`, building it when it is not cached.

    The directory is shared by every host as an overlay's lower layer: read it, never write to it.

    Raises:
        LabError: mmdebstrap failed; the details are its last lines.
    """
    suite = Suite(suite)
    final = _store() / f"{suite}-{_recipe_digest(suite)}"
    with _locked(suite):
        if not final.is_dir():
            with (progress or NullProgress()).step(f"base {suite}", "mmdebstrap, once per recipe"):
                _build(suite, final)
    return final


def _build(suite: Suite, final: Path) -> None:
    partial = final.with_suffix(".partial")
    if partial.exists():  # of a build that was killed
        shutil.rmtree(partial)
    run(_command(suite, partial))
    partial.chmod(0o755)
    partial.rename(final)


def _command(suite: Suite, target: Path) -> list[str]:
    keyring = [f"--keyring={_KEYRING}"] if _KEYRING.exists() else []
    hooks = [f"--customize-hook={line}" for line in _CUSTOMISE]
    return [
        "mmdebstrap",
        "--quiet",
        "--format=directory",
        "--variant=minbase",
        f"--include={','.join(_PACKAGES)}",
        *keyring,
        *hooks,
        suite.value,
        str(target),
    ]


def _recipe_digest(suite: Suite) -> str:
    recipe = "\n".join(_command(suite, Path("/")))
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def _store() -> Path:
    store = paths.cache_dir() / "lab" / "base"
    store.mkdir(parents=True, exist_ok=True)
    return store


@contextmanager
def _locked(suite: Suite) -> Iterator[None]:
    """Two labs started at once build a base once."""
    descriptor = os.open(_store() / f"{suite}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
