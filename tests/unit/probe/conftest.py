"""A host as a tree of files, an inventory whose hosts are this machine, and a stand-in for systemctl."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmprov.inventory import Inventory, load

DIGEST = "sha256:" + "a" * 64
type InventoryOf = Callable[..., Inventory]

# What systemd 252 prints for these; this machine may run no systemd, and must not run these units.
_SYSTEMCTL = """#!{python}
import sys
show, properties, dashes, *units = sys.argv[1:]
assert (show, properties, dashes) == ("show", "--property=LoadState,ActiveState,UnitFileState", "--")
known = {{
    "containerd.service": ("loaded", "active", "enabled"),
    "kubelet.service": ("masked", "inactive", "masked"),
}}
answers = [known.get(unit, ("not-found", "inactive", "")) for unit in units]
print("\\n\\n".join("LoadState=%s\\nActiveState=%s\\nUnitFileState=%s" % answer for answer in answers))
"""
_HOSTS = """
all:
  vars: {vars}
  children:
    control_plane: {{hosts: {{cp1: {{ansible_host: 192.0.2.1}}}}}}
    workers: {{hosts: {{gpu1: {{ansible_host: 192.0.2.2}}}}}}
"""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Tree:
    """The files of a host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "run").mkdir(parents=True)

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Write a file, given by its absolute path on the host."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(mode)
        return target

    def record(self, stage: str, **values: object) -> None:
        """Leave the record of a stage."""
        common = {"schema": 2, "stage": stage, "fingerprint": "f", "inputs": {"role x": "00"}, "files": {}}
        finished = {"units": [], "packages": {}, "finished": "2026-01-01T00:00:00Z"}
        self.write(f"/var/lib/llmprov/stages/{stage}.json", json.dumps({**common, **finished, **values}), 0o600)

    def managed(self, path: str, written: str, now: str | None) -> dict[str, str]:
        """Leave a managed file with the copy of what was written; return its part of a record."""
        self.write(f"/var/lib/llmprov/managed/{sha256(written)}", written, 0o600)
        if now is not None:
            self.write(path, now)
        return {path: sha256(written)}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "host")


@pytest.fixture
def inventory_of(tmp_path: Path) -> InventoryOf:
    """Return a function that makes an inventory of cp1 and gpu1 with these variables."""

    def make(**variables: object) -> Inventory:
        directory = tmp_path / "inventory"
        directory.mkdir(exist_ok=True)
        values = json.dumps({"cluster_bundle_dir": str(tmp_path / "bundle"), **variables})
        (directory / "hosts.yml").write_text(_HOSTS.format(vars=values), encoding="utf-8")
        return load(directory)

    return make


@pytest.fixture
def inventory(inventory_of: InventoryOf) -> Inventory:
    """Both hosts are this machine, probed by whoever runs the tests."""
    return inventory_of(ansible_connection="local", ansible_become=False, ansible_python_interpreter=sys.executable)


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is first on PATH, with the stand-in for systemctl."""
    directory = tmp_path / "programs"
    program(directory, "systemctl", _SYSTEMCTL.format(python=sys.executable))
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def program(directory: Path, name: str, text: str) -> None:
    """Write a program."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text, encoding="utf-8")
    (directory / name).chmod(0o755)
