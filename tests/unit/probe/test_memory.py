"""Large files are hashed once a boot, and again whenever they change, however well that is hidden."""

import importlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.plugins.conftest import load_file
from tests.unit.probe.conftest import Tree, sha256

PROGRAM = "/usr/local/bin/kubelet"
TEXT = "x" * 2_000_000
type Digest = Callable[[], str | None]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as hosts run it; files that were just written count as settled."""
    load_file("module_utils", "llmprov_host", "ansible.module_utils.llmprov_host")
    name = "ansible.module_utils.llmprov_probe_files"
    load_file("module_utils", "llmprov_probe_files", name)
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "_SETTLED_NS", -(10**10))
    return module


@pytest.fixture
def digest(files: ModuleType, tree: Tree) -> Digest:
    tree.write(PROGRAM, TEXT)

    def call() -> str | None:
        found: str | None = files.file_states({PROGRAM: "00"}, tree.root, diff=False)[PROGRAM]["sha256"]
        return found

    return call


def _memory(tree: Tree) -> Path:
    return tree.root / "run" / "llmprov-probe.json"


def _forge(tree: Tree) -> None:
    """Put a digest into the memory that is not the file's, so that its use shows."""
    known = json.loads(_memory(tree).read_text())
    known[str(tree.root) + PROGRAM][-1] = "remembered"
    _memory(tree).write_text(json.dumps(known))


def test_an_unchanged_file_is_not_read_again(digest: Digest, tree: Tree) -> None:
    assert digest() == sha256(TEXT)
    assert _memory(tree).stat().st_mode & 0o777 == 0o600
    _forge(tree)
    assert digest() == "remembered"


def test_a_change_shows_although_size_and_time_are_set_back(digest: Digest, tree: Tree) -> None:
    assert digest() == sha256(TEXT)
    path = tree.root / PROGRAM.lstrip("/")
    before = path.stat()
    time.sleep(0.02)  # longer than a tick of the clock that times of files are taken from
    path.write_text("y" * len(TEXT))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert digest() == sha256("y" * len(TEXT))


def test_a_file_that_was_just_written_is_not_remembered(
    digest: Digest, files: ModuleType, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SETTLED_NS", 10**12)
    assert digest() == sha256(TEXT)
    assert not _memory(tree).exists()


def test_a_small_file_is_always_read(files: ModuleType, tree: Tree) -> None:
    tree.write("/etc/x", "x")
    files.file_states({"/etc/x": "00"}, tree.root, diff=False)
    assert not _memory(tree).exists()


@pytest.mark.parametrize("case", ["others may write", "no JSON", "no dictionary"])
def test_a_memory_that_cannot_be_trusted(digest: Digest, tree: Tree, case: str) -> None:
    digest()
    _forge(tree)
    if case == "others may write":
        _memory(tree).chmod(0o666)
    else:
        _memory(tree).write_text("[]" if case == "no dictionary" else "{")
    assert digest() == sha256(TEXT)


def test_a_memory_that_cannot_be_written(digest: Digest, tree: Tree) -> None:
    (tree.root / "run").rmdir()
    tree.write("/run", "a file")
    assert digest() == sha256(TEXT)
