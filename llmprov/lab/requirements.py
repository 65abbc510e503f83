"""What a machine needs to run a lab: everything missing is said at once, with the command that installs it."""

import os
import shutil
import sys

from llmprov.errors import LabError

# tool -> the Debian package that has it
_TOOLS = {
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nc": "netcat-openbsd",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}


def packages() -> tuple[str, ...]:
    """The Debian packages that a lab needs on the machine it runs on."""
    return tuple(sorted({*_TOOLS.values(), "debian-archive-keyring"}))


def check() -> None:
    """Check this machine.

    Raises:
        LabError: with one finding per missing thing.
    """
    missing = {tool: package for tool, package in _TOOLS.items() if shutil.which(tool) is None}
    findings = [f"{tool} is not installed (package {package})" for tool, package in sorted(missing.items())]
    if not sys.platform.startswith("linux"):
        findings.insert(0, f"the lab needs Linux, this is {sys.platform}")
    elif os.geteuid() != 0:
        findings.insert(0, "the lab needs root: it makes namespaces, mounts and control groups")
    if findings:
        install = f"apt-get install {' '.join(sorted(set(missing.values())))}" if missing else "run it with sudo"
        raise LabError("this machine cannot run a lab yet", details=tuple(findings), remedy=install)
