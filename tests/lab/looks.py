"""What a lab's hosts look like: taken before and after, it says whether anything was touched or left."""

import shlex

from tests.lab.conftest import Lab

# Everything that an installation, or careless reading, would leave behind. Logs and traces of the login are left out.
_STATE = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /dev -o -path /var/log \
  -o -path /var/lib/systemd \) -prune -o -printf '%p %y %s %m %u %T@\n' | sort
sysctl -a 2>/dev/null | grep -E '^(net.ipv4.ip_forward|net.bridge|vm.overcommit|kernel.panic|fs.inotify)' | sort
systemctl list-unit-files --no-legend | grep -v '[.]scope' | sort
ip -o link | sed 's/qlen.*//'
ip route
cat /proc/mounts
"""

# What an install could leave behind. Left out: what the running system itself changes, the tests' own connections,
# and the backups that dpkg and ucf keep of their own books.
_FILES = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /dev -o -path /home \
  -o -path /var/log -o -path /var/tmp -o -path /var/cache -o -path /var/lib/systemd \
  -o -path '/var/lib/dpkg/*-old' -o -path '/var/lib/ucf/*.[0-9]' \) -prune \
  -o \( -type f -o -type l \) -printf '%p\n' | sort
"""
_UNITS = "systemctl list-unit-files --no-legend --type=service,socket,timer | awk '{print $1, $2}' | sort"
_LINKS = "ip -o link | awk -F': ' '{print $2}' | sort"


def state(lab: Lab, host: str, *, sudo: str = "sudo") -> list[str]:
    """Return all of a host that a refused or read-only verb must not change, times of files included."""
    lines = lab.ssh(host, f"{sudo} sh -c {shlex.quote(_STATE)}").splitlines()
    assert len(lines) > 1000  # an empty look would equal any other
    return lines


def belongings(lab: Lab, host: str) -> dict[str, set[str]]:
    """Return the files, units and network interfaces of a host: what an install brings and a reset takes away."""
    commands = {"files": f"sudo sh -c {shlex.quote(_FILES)}", "units": _UNITS, "links": _LINKS}
    return {name: set(lab.ssh(host, command).splitlines()) for name, command in commands.items()}
