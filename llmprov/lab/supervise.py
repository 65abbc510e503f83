"""The process that keeps one lab host: mounts its file system, boots it, boots it again after a reboot.

Run as `python -m llmprov.lab.supervise HOST_DIRECTORY` in a session of its own. Its mounts live in a mount namespace of
its own and therefore end with it, however it ends. There is one per host, so it imports nothing heavy.
"""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from llmprov.errors import LabError
from llmprov.lab.cgroups import HostGroup, detect
from llmprov.lab.plan import HostPlan

# What nspawn returns when the host asked for a reboot and nspawn may not restart it by itself (--keep-unit).
_REBOOT = 133
# Joins the cgroups named before `--`, then becomes the command after it: nspawn must be a member when it starts.
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


def main(directory: Path) -> int:
    """Keep the host until it is powered off; return nspawn's exit status."""
    lock = _hold_lock(directory / "supervisor.lock")
    plan = HostPlan.load(directory / "plan.json")
    group = HostGroup(detect(), plan.lab, plan.host)
    signal.signal(signal.SIGTERM, lambda *_: group.kill())
    mount_root(plan)
    status = _REBOOT
    try:
        while status == _REBOOT:
            _empty(group)
            group.create(plan.memory_bytes)
            status = _boot(plan, group)
    finally:
        _empty(group)
        os.close(lock)
    return status


def mount_root(plan: HostPlan) -> None:
    """Put the host's file system together where only this process and its children see it."""
    os.unshare(os.CLONE_NEWNS)
    _mount("--make-rslave", "/")
    _forget_other_namespaces(plan)
    # nspawn leaves its locks and propagation directories in /run/systemd; here they end with the namespace.
    Path("/run/systemd").mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", "mode=755,size=1m", "tmpfs", "/run/systemd")
    layers = f"lowerdir={plan.lower},upperdir={plan.upper},workdir={plan.work}"
    _mount("-t", "overlay", "-o", layers, "overlay", plan.root)
    if plan.disk:
        _mount("-o", "loop", plan.disk, f"{plan.root}/var")


def command(plan: HostPlan, *, unified: bool) -> list[str]:
    """The nspawn command line of a host."""
    legacy = [] if unified else ["systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]
    binds = [
        f"--bind{'' if writable else '-ro'}={_escape(outside)}:{_escape(inside)}"
        for outside, inside, writable in plan.binds
    ]
    return [
        "systemd-nspawn",
        "--quiet",
        f"--directory={plan.root}",
        f"--machine=llmprov-{plan.lab}-{plan.host}",
        f"--hostname={plan.host}",
        f"--uuid={plan.machine_id}",
        f"--network-namespace-path={plan.namespace}",
        "--settings=no",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--kill-signal=SIGRTMIN+3",
        "--capability=all",
        "--system-call-filter=@keyring bpf @privileged",
        "--bind=/dev/kmsg",
        *binds,
        "--",
        plan.init,
        *legacy,
    ]


def _boot(plan: HostPlan, group: HostGroup) -> int:
    unified = group.hierarchies.unified
    environment = {
        **os.environ,
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1" if unified else "0",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1",
    }
    join = ["/bin/sh", "-ec", _JOIN, "join", *(str(path) for path in group.entrances), "--"]
    return subprocess.call([*join, *command(plan, unified=unified)], env=environment, stdin=subprocess.DEVNULL)


def _empty(group: HostGroup) -> None:
    """Leave no process and no group, neither of the boot before nor of one that failed."""
    group.kill()
    group.remove()


def _forget_other_namespaces(plan: HostPlan) -> None:
    """Drop this mount namespace's copies of other network namespaces, which would keep those alive."""
    others = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mount, kind = before.split()[4], after.split()[0]
        if kind == "nsfs" and mount != plan.namespace:
            others.append(mount)
    if others:  # one call: each of a hundred hosts sees those of all others
        _run("umount", "--lazy", *others)


def _hold_lock(file: Path) -> int:
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _mount(*arguments: str) -> None:
    _run("mount", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


def run() -> int:
    """Keep the host named on the command line; what goes wrong is one line on the console log."""
    try:
        return main(Path(sys.argv[1]))
    except (LabError, OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"lab supervisor: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(run())
