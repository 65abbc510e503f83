"""Kernel settings that hosts share with the machine and change: noted before the first host, restored after the last.

They are kept as an extended attribute of the lab's control group, which exists exactly as long as a host runs: no file
to lose, and labs of different users or state directories agree on it. Standard library only, for the supervisor.
"""

import json
import os
from pathlib import Path

_ATTRIBUTE = "trusted.llmprov.settings"
_PROC = Path("/proc/sys")
# What Debian's sysctl.d, systemd and the kubelet set and what is not a namespace's own.
_SETTINGS = (
    "fs/file-max",
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
    "fs/nr_open",
    "fs/protected_fifos",
    "fs/protected_hardlinks",
    "fs/protected_regular",
    "fs/protected_symlinks",
    "kernel/core_pattern",
    "kernel/keys/maxbytes",
    "kernel/keys/maxkeys",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/pid_max",
    "net/ipv4/neigh/default/gc_thresh1",
    "net/ipv4/neigh/default/gc_thresh2",
    "net/ipv4/neigh/default/gc_thresh3",
    "vm/max_map_count",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
# What the kernel counts over all hosts together: root's inotify instances, of whose 128 two hosts that run Kubernetes
# leave none; keys of the user who logs in, some for every session; neighbours that hosts have spoken with.
_RAISED = {
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 524288,
    "kernel/keys/maxkeys": 5000,
    "kernel/keys/maxbytes": 500000,
    "net/ipv4/neigh/default/gc_thresh1": 8192,
    "net/ipv4/neigh/default/gc_thresh2": 16384,
    "net/ipv4/neigh/default/gc_thresh3": 32768,
}


def remember(group: Path, proc: Path = _PROC) -> None:
    """Make the lab's group; whoever makes it notes the settings, then raises what many hosts need."""
    try:
        group.mkdir()
    except FileExistsError:
        return
    settings = {name: (proc / name).read_text().strip() for name in _SETTINGS if (proc / name).exists()}
    os.setxattr(group, _ATTRIBUTE, json.dumps(settings).encode())
    for name, least in _RAISED.items():
        if int(settings.get(name, least)) < least:
            (proc / name).write_text(f"{least}\n")


def remembered(group: Path) -> dict[str, str]:
    """What `remember` noted; read it before the group goes."""
    if not group.exists() or _ATTRIBUTE not in os.listxattr(group):
        return {}
    settings: dict[str, str] = json.loads(os.getxattr(group, _ATTRIBUTE))
    return settings


def restore(settings: dict[str, str], proc: Path = _PROC) -> None:
    """Write back every setting that is no longer what it was."""
    for name, value in settings.items():
        try:
            if (proc / name).read_text().strip() != value:
                (proc / name).write_text(f"{value}\n")
        except OSError:  # a value the kernel takes no more is no reason to leave the rest of the host behind
            continue
