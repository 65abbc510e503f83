"""Control groups: which version, which groups, what is copied and limited; on directories instead of cgroupfs."""

import os
import subprocess
from pathlib import Path

import pytest

from llmprov.errors import LabError
from llmprov.lab.cgroups import Hierarchies, HostGroup, detect

_HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
_UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
_ELSEWHERE = "31 23 0:28 / /mnt/groups rw - cgroup2 cgroup2 rw\n"


def test_versions_are_told_apart() -> None:
    hybrid = detect(_HYBRID)
    assert not hybrid.unified
    assert [mount.name for mount in hybrid.mounts] == ["cpuset", "memory", "unified"]
    assert detect(_UNIFIED) == Hierarchies(unified=True, mounts=(Path("/sys/fs/cgroup"),))
    with pytest.raises(LabError):
        detect(_ELSEWHERE)


@pytest.fixture
def v1(tmp_path: Path) -> Hierarchies:
    """Two hierarchies; the kernel's files of a new cpuset group are made by the test."""
    for name in ("cpuset", "memory"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    return Hierarchies(unified=False, mounts=(tmp_path / "cpuset", tmp_path / "memory"))


def test_v1_groups_get_cpus_and_a_memory_limit(v1: Hierarchies) -> None:
    group = HostGroup(v1, "unit", "cp1")
    cpuset, memory = group.paths
    for level in (cpuset.parent.parent, cpuset.parent, cpuset):
        level.mkdir()
        (level / "cpuset.cpus").write_text("\n")
        (level / "cpuset.mems").write_text("\n")
    memory.mkdir(parents=True)
    (memory / "memory.limit_in_bytes").write_text("unlimited\n")
    group.create(512)
    assert (cpuset / "cpuset.cpus").read_text() == "0-1\n"
    assert (cpuset / "cpuset.mems").read_text() == "0\n"
    assert (memory / "memory.limit_in_bytes").read_text() == "512"
    assert group.entrances == group.paths


def test_v2_groups_are_entered_beside_the_payload(tmp_path: Path) -> None:
    group = HostGroup(Hierarchies(unified=True, mounts=(tmp_path,)), "unit", "cp1")
    levels = [tmp_path, tmp_path / "llmprov-lab", tmp_path / "llmprov-lab/unit", tmp_path / "llmprov-lab/unit/cp1"]
    for level in levels:
        level.mkdir(exist_ok=True)
        (level / "cgroup.controllers").write_text("cpu memory\n")
        (level / "cgroup.subtree_control").write_text("cpu\n" if level == tmp_path else "cpu memory\n")
    (levels[-1] / "memory.max").write_text("max\n")
    try:
        group.create(1024)
    except PermissionError:
        pytest.skip("trusted extended attributes need root")
    assert group.entrances == (levels[-1] / "supervisor",)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    assert os.getxattr(levels[1], "trusted.llmprov.enabled") == b"memory"
    assert (levels[-1] / "memory.max").read_text() == "1024"


def test_processes_of_all_levels_are_found_and_ended(v1: Hierarchies) -> None:
    group = HostGroup(v1, "unit", "cp1")
    below = group.paths[1] / "kubepods" / "pod1"
    below.mkdir(parents=True)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as victim:
        procs = below / "cgroup.procs"
        procs.write_text(f"{victim.pid}\n")
        assert group.pids() == {victim.pid}
        os.mkfifo(below / "unreadable")  # anything else in a group is not read
        victim.kill()
        victim.wait()
        procs.write_text("")
        group.kill()
        assert group.pids() == set()


def test_groups_are_removed_with_all_below_and_the_labs_when_empty(v1: Hierarchies) -> None:
    first, second = HostGroup(v1, "unit", "cp1"), HostGroup(v1, "unit", "gpu1")
    for path in (*first.paths, *second.paths):
        (path / "kubepods" / "pod1").mkdir(parents=True)
    first.remove()
    assert not any(path.exists() for path in first.paths)
    assert all(path.exists() for path in second.paths)
    second.remove()
    second.remove()
    assert not any((mount / "llmprov-lab").exists() for mount in v1.mounts)
