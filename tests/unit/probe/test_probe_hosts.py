"""One call tells everything about a host: real files, a real registry's layout, real dpkg, this machine's Python."""

import os
import shutil
from pathlib import Path

import pytest

from llmprov.host_state import FileState, HostProbe, UnitState
from llmprov.inventory import Inventory
from llmprov.progress import NullProgress
from llmprov.workflows.probe import probe_hosts
from tests.unit.probe.conftest import DIGEST, InventoryOf, Tree, sha256

_DPKG = """Package: chrony
Status: hold ok installed
Version: 4.6.1-3
Architecture: amd64
Maintainer: x
Description: x

Package: socat
Status: deinstall ok config-files
Version: 1.8
Architecture: amd64
Maintainer: x
Description: x
"""


def probe(inventory: Inventory, tree: Tree, host: str = "gpu1", *, diff: bool = False) -> HostProbe:
    [found], unprobed = probe_hosts(inventory, NullProgress(), hosts=[host], diff=diff, root=str(tree.root))
    assert unprobed == ()
    return found


def test_a_bare_host(inventory: Inventory, tree: Tree) -> None:
    found = probe(inventory, tree)
    assert found.host == "gpu1"
    assert found.facts["kernel"] == os.uname().release
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (found.joined, found.control_plane) == (False, False)
    assert [*found.records, *found.damaged, *found.newer, *found.files, *found.units, *found.packages] == []


def test_hosts_come_in_the_inventorys_order(inventory: Inventory, tree: Tree) -> None:
    found, _ = probe_hosts(inventory, NullProgress(), root=str(tree.root))
    assert [item.host for item in found] == ["cp1", "gpu1"]


def test_how_far_kubeadm_got(inventory: Inventory, tree: Tree) -> None:
    tree.write("/etc/kubernetes/kubelet.conf", "x")
    assert probe(inventory, tree).joined
    assert not probe(inventory, tree).control_plane
    tree.write("/etc/kubernetes/llmprov-control-plane", "")
    assert probe(inventory, tree).control_plane


def test_records_are_read_and_facts_have_them_without_inputs(inventory: Inventory, tree: Tree) -> None:
    tree.record("base", inputs={"variable base_swap_off": "11"}, units=["a.service"])
    found = probe(inventory, tree)
    assert dict(found.records["base"].inputs) == {"variable base_swap_off": "11"}
    facts = found.facts["records"]
    assert isinstance(facts, dict)
    assert facts["base"]["units"] == ["a.service"]
    assert "inputs" not in facts["base"]


def test_records_that_cannot_be_used(inventory: Inventory, tree: Tree) -> None:
    tree.write("/var/lib/llmprov/stages/base.json", '{"schema": 2, "sta')
    tree.write("/var/lib/llmprov/stages/runtime.json", "[]")
    tree.write("/var/lib/llmprov/stages/binary.json", "").write_bytes(b"\xff\xfe")
    tree.record("timesync", files=["/etc/chrony"], units=7)
    tree.record("kubernetes", schema=3, files=[["unknown", "shape"]])
    tree.record("worker", schema=1)
    found = probe(inventory, tree)
    assert found.damaged.keys() == {"base", "binary", "runtime", "timesync"}
    assert "Expecting" in found.damaged["base"] or "Unterminated" in found.damaged["base"]
    assert found.newer == {"kubernetes": 3}
    assert found.records["worker"].schema == 1


def test_files_are_hashed(inventory: Inventory, tree: Tree) -> None:
    same = tree.managed("/etc/same", "x", "x")
    changed = tree.managed("/etc/changed", "x", "y")
    gone = tree.managed("/etc/gone", "x", None)
    tree.record("base", files={**same, **changed})
    (tree.root / "etc" / "directory").mkdir()
    os.mkfifo(tree.root / "etc" / "fifo")
    (tree.root / "etc" / "loop").symlink_to("loop")
    tree.record(
        "runtime", files={**gone, "/etc/directory": "00", "/etc/fifo": "00", "/etc/loop": "0", "/etc/same/below": "00"}
    )
    assert probe(inventory, tree).files == {
        "/etc/same": FileState(sha256("x")),
        "/etc/changed": FileState(sha256("y")),
        "/etc/gone": FileState(None),
        "/etc/directory": FileState(None),
        "/etc/fifo": FileState(None),
        "/etc/loop": FileState(None),
        "/etc/same/below": FileState(None),
    }


def test_a_changed_file_is_shown_as_a_diff(inventory: Inventory, tree: Tree) -> None:
    files = tree.managed("/etc/limits", "one\ntwo\n", "one\n2\n") | tree.managed("/etc/same", "x", "x")
    tree.record("base", files=files)
    assert probe(inventory, tree).files["/etc/limits"].difference == ""
    shown = probe(inventory, tree, diff=True).files
    assert shown["/etc/limits"].difference.splitlines() == [
        "--- as written",
        "+++ now",
        "@@ -1,2 +1,2 @@",
        " one",
        "-two",
        "+2",
    ]
    assert shown["/etc/same"].difference == ""


def test_a_long_diff_is_cut(inventory: Inventory, tree: Tree) -> None:
    written = "".join(f"{number}\n" for number in range(500))
    tree.record("base", files=tree.managed("/etc/long", written, written.replace("\n", "x\n")))
    lines = probe(inventory, tree, diff=True).files["/etc/long"].difference.splitlines()
    assert len(lines) == 200
    assert lines[-1] == f"… {3 + 1000 - 199} more lines"


@pytest.mark.parametrize("case", ["no copy", "binary", "large", "for root only", "digest is a path"])
def test_what_is_not_shown(inventory: Inventory, tree: Tree, case: str) -> None:
    files = tree.managed("/etc/x", "old", "new")
    copy = tree.root / "var/lib/llmprov/managed" / sha256("old")
    match case:
        case "no copy":
            copy.unlink()
        case "binary":
            (tree.root / "etc/x").write_bytes(b"\xff\xfe")
        case "large":
            tree.write("/etc/x", "x" * (64 * 1024 + 1))
        case "for root only":
            (tree.root / "etc/x").chmod(0o600)
        case _:
            tree.write("/etc/secret", "old", 0o600)
            files = {"/etc/x": "../../../../etc/secret"}
    tree.record("base", files=files)
    found = probe(inventory, tree, diff=True).files["/etc/x"]
    assert found.difference == ""
    assert found.sha256


def test_units_are_asked_for_at_once(inventory: Inventory, tree: Tree) -> None:
    tree.record("runtime", units=["containerd.service"])
    tree.record("kubernetes", units=["kubelet.service", "removed.service"])
    found = probe(inventory, tree).units
    assert found == {
        "containerd.service": UnitState("loaded", "active", "enabled"),
        "kubelet.service": UnitState("masked", "inactive", "masked"),
        "removed.service": UnitState("not-found", "inactive", ""),
    }
    assert [unit.trouble for unit in found.values()] == ["", "masked", "not-found"]


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="needs dpkg-query")
def test_packages(inventory: Inventory, tree: Tree) -> None:
    tree.write("/var/lib/dpkg/status", _DPKG)
    tree.record("packages", packages={"chrony": "4.6.1-3", "socat": "1.8", "nftables": "1.1"})
    assert probe(inventory, tree).packages == {"chrony": "4.6.1-3", "socat": None, "nftables": None}


def test_the_registrys_content_on_the_first_control_plane(inventory_of: InventoryOf, tree: Tree) -> None:
    inventory = inventory_of(ansible_connection="local", ansible_become=False, registry_data_dir="/srv/registry")
    repositories = "/srv/private/docker/registry/v2/repositories"
    (tree.root / "srv").mkdir()
    (tree.root / "srv" / "registry").symlink_to("private")  # as systemd does it for DynamicUser
    for name in ("llmprov/files", "registry.k8s.io/coredns/coredns", "registry.k8s.io/coredns"):
        tree.write(f"{repositories}/{name}/_manifests/tags/v1/current/link", DIGEST)
        tree.write(f"{repositories}/{name}/_manifests/tags/v1/index/sha256/{'b' * 64}/link", "sha256:" + "b" * 64)
        tree.write(f"{repositories}/{name}/_manifests/revisions/sha256/{'a' * 64}/link", DIGEST)
        tree.write(f"{repositories}/{name}/_layers/sha256/{'c' * 64}/link", "sha256:" + "c" * 64)
    (tree.root / f"{repositories}/llmprov/files/_manifests/tags/half/index".lstrip("/")).mkdir(parents=True)
    (tree.root / f"{repositories}/llmprov/new/_uploads/1".lstrip("/")).mkdir(parents=True)
    assert probe(inventory, tree, "cp1").images == {
        "llmprov/files:v1": DIGEST,
        "registry.k8s.io/coredns/coredns:v1": DIGEST,
        "registry.k8s.io/coredns:v1": DIGEST,
    }
    assert probe(inventory, tree, "gpu1").images == {}


def test_a_probe_changes_nothing_but_its_memory(inventory: Inventory, tree: Tree) -> None:
    tree.record("base", files=tree.managed("/etc/x", "old", "new") | {"/usr/local/bin/large": "00"})
    tree.write("/usr/local/bin/large", "x" * 2_000_000)
    before = _everything(tree.root)
    assert probe(inventory, tree, diff=True).files["/etc/x"].difference
    assert _everything(tree.root) == before


def _everything(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(path for path in root.rglob("*") if not path.is_relative_to(root / "run")):
        status = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (content, status.st_mode, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return found
