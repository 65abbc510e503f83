"""Our own Go programs: found beside the Ansible content, compiled to the same bytes anywhere."""

import shutil
from pathlib import Path

import pytest

from llmprov.bundle.builders import golocal
from llmprov.bundle.builders.golocal import LocalGoBuilder, LocalGoSource
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, BuiltFile
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError

SPEC = ArtifactSpec(
    name="hello",
    kind="file",
    version="0.1.0",
    licence="Apache-2.0",
    source=LocalGoSource(directory="images/hello", program="hello"),
)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in a content root of its own."""
    path = tmp_path / "content/images/hello"
    path.mkdir(parents=True)
    (path / "go.mod").write_text("module llmprov.internal/hello\n\ngo 1.21\n")
    (path / "main.go").write_text('package main\n\nfunc main() { println("hello") }\n')
    (path / "main_test.go").write_text("package main\n")
    monkeypatch.setattr(golocal, "content_root", lambda: tmp_path / "content")
    return path


@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
@pytest.mark.usefixtures("module")
def test_a_program_of_ours_is_the_same_in_any_directory(store: BlobStore, tmp_path: Path) -> None:
    built = []
    for name in ("one", "elsewhere"):
        workdir = tmp_path / name
        workdir.mkdir()
        built.append(LocalGoBuilder().build(SPEC, BuildContext(store=store, workdir=workdir)))
    assert built[0] == built[1]
    assert isinstance(built[0], BuiltFile)
    data = store.path(built[0].blob.sha256).read_bytes()
    assert data.startswith(b"\x7fELF")
    assert str(tmp_path).encode() not in data


def test_source_files_are_part_of_the_recipe_and_tests_are_not(module: Path) -> None:
    before = LocalGoBuilder().inputs(SPEC)
    (module / "main_test.go").write_text("package main // changed\n")
    assert LocalGoBuilder().inputs(SPEC) == before
    (module / "main.go").write_text("package main\n\nfunc main() {}\n")
    assert LocalGoBuilder().inputs(SPEC) != before


def test_a_module_that_is_not_there_is_named(module: Path) -> None:
    (module / "go.mod").unlink()
    with pytest.raises(BundleError, match=r"no Go module at .*images/hello"):
        LocalGoBuilder().inputs(SPEC)


def test_where_it_is_on_this_machine_is_not_told() -> None:
    assert SPEC.source.describe() == "llmprov:images/hello"
