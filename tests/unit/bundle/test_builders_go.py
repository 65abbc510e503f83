"""The Go builder: the go.mod it writes, its flags, and real builds of a module that needs no network."""

import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmprov.bundle.builders import gobuild, gotool
from llmprov.bundle.builders.gobuild import GoBuilder
from llmprov.bundle.builders.gomodule import GoSource, go_mod, linker_flags, unversioned, without_imports
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, BuiltFile
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError

ROOT_MOD = """module example.org/cluster

go 1.26.0

require (
\texample.org/plain v1.2.3
\texample.org/staging-b v0.0.0
\texample.org/staging-a v0.0.0 // indirect
\texample.org/pseudo v0.0.0-20250102033503-faa5f7b0171c // indirect
)
"""


def source(**changes: object) -> GoSource:
    return GoSource.model_validate(
        {"module": "example.org/cluster", "programs": {"node": "example.org/cluster/cmd/node"}} | changes
    )


def test_go_mod_requires_only_the_module() -> None:
    text = go_mod(source(), "v1.2.3", ROOT_MOD)
    assert "go 1.26.0\n" in text
    assert "\texample.org/cluster v1.2.3\n" in text
    assert "replace" not in text


def test_staging_modules_are_replaced_by_their_published_version() -> None:
    text = go_mod(source(staging="v0.2.3"), "v1.2.3", ROOT_MOD)
    assert unversioned(ROOT_MOD) == ("example.org/staging-a", "example.org/staging-b")
    assert "\texample.org/staging-a => example.org/staging-a v0.2.3\n" in text
    assert "pseudo" not in text


def test_variables_know_the_version_and_the_time() -> None:
    wanted = {"example.org/v.Version": "v{version}", "example.org/v.Minor": "{minor}", "example.org/v.Date": "{time}"}
    flags = linker_flags(source(variables=wanted), "1.37.2", "2026-10-27T12:01:04Z")
    assert "-X 'example.org/v.Version=v1.37.2'" in flags
    assert "-X 'example.org/v.Minor=37'" in flags
    assert "-X 'example.org/v.Date=2026-10-27T12:01:04Z'" in flags
    assert "-buildid=" in flags
    assert "-extldflags" not in flags


def test_cgo_programs_are_static() -> None:
    assert "-extldflags -static" in linker_flags(source(cgo=True), "1.0.0", "")


def test_programs_that_load_libraries_are_not_static() -> None:
    flags = linker_flags(source(cgo=True, dynamic=["-Wl,-z,lazy", "-Wl,--export-dynamic"]), "1.0.0", "")
    assert "-linkmode external -extldflags '-Wl,-z,lazy -Wl,--export-dynamic'" in flags
    assert "-static" not in flags


def test_further_modules_are_required_and_may_need_a_newer_go() -> None:
    text = go_mod(source(requires={"example.org/other": "v0.4.0"}, go="1.26.7"), "v1.2.3", ROOT_MOD)
    assert "\texample.org/cluster v1.2.3\n\texample.org/other v0.4.0\n" in text
    assert "go 1.26.7\n" in text
    assert "go 1.26.0\n" in go_mod(source(go="1.26.7"), "v1.2.3", ROOT_MOD)


def test_only_the_named_blank_import_is_left_out() -> None:
    main = 'import (\n\t_ "example.org/a"\n\t_ "example.org/a/b"\n\t"example.org/a"\n)\n'
    assert without_imports(main, ("example.org/a",)) == 'import (\n\t_ "example.org/a/b"\n\t"example.org/a"\n)\n'


MAIN = """package main

import "fmt"

var version = "unknown"

func main() { fmt.Println(version) }
"""


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module proxy of files with one module, and Go caches that see nothing else."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    versions = tmp_path / "proxy/example.org/hello/@v"
    versions.mkdir(parents=True)
    (versions / "v1.2.3.info").write_text('{"Version":"v1.2.3","Time":"2026-01-02T03:04:05Z"}')
    (versions / "v1.2.3.mod").write_text("module example.org/hello\n\ngo 1.21\n")
    with zipfile.ZipFile(versions / "v1.2.3.zip", "w") as archive:
        archive.writestr("example.org/hello@v1.2.3/go.mod", "module example.org/hello\n\ngo 1.21\n")
        archive.writestr("example.org/hello@v1.2.3/main.go", MAIN)
    monkeypatch.setenv("GOPROXY", f"file://{tmp_path}/proxy")
    monkeypatch.setenv("GONOSUMDB", "example.org/*")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    yield versions
    for directory, _, _ in os.walk(tmp_path / "modules"):
        Path(directory).chmod(0o755)


def spec(**changes: object) -> ArtifactSpec:
    hello = source(module="example.org/hello", programs={"hello": "example.org/hello"}, **changes)
    return ArtifactSpec(name="hello", kind="file", version="1.2.3", licence="Apache-2.0", source=hello)


def build(store: BlobStore, workdir: Path, wanted: ArtifactSpec) -> Path:
    workdir.mkdir()
    built = GoBuilder().build(wanted, BuildContext(store=store, workdir=workdir))
    assert isinstance(built, BuiltFile)
    return store.path(built.blob.sha256)


@pytest.mark.usefixtures("proxy")
def test_a_module_is_compiled_to_the_same_bytes_in_any_directory(store: BlobStore, tmp_path: Path) -> None:
    wanted = spec(variables={"main.version": "v{version}"})
    one = build(store, tmp_path / "one", wanted)
    two = build(store, tmp_path / "elsewhere", wanted)
    assert one == two
    context = BuildContext(store=store, workdir=tmp_path)
    copy = tmp_path / "hello"
    shutil.copyfile(one, copy)
    copy.chmod(0o755)
    assert context.run([str(copy)]) == "v1.2.3\n"
    assert str(tmp_path).encode() not in one.read_bytes()


@pytest.mark.usefixtures("proxy")
def test_an_archive_holds_every_program(store: BlobStore, tmp_path: Path) -> None:
    with tarfile.open(build(store, tmp_path / "one", spec(archive=True))) as archive:
        members = {info.name: info.mode for info in archive.getmembers()}
    assert members == {"hello": 0o755}


def test_a_module_with_other_content_than_its_checksum_is_refused(
    proxy: Path, store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(store, tmp_path / "one", spec())
    with zipfile.ZipFile(proxy / "v1.2.3.zip", "a") as archive:
        archive.writestr("example.org/hello@v1.2.3/evil.go", "package main\n")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules" / "fresh"))
    workdir = tmp_path / "two"
    workdir.mkdir()
    sums = tmp_path / "one" / "go.sum"
    assert "example.org/hello v1.2.3 h1:" in sums.read_text()
    shutil.copy(sums, workdir)
    with pytest.raises(BundleError) as caught:
        GoBuilder().build(spec(), BuildContext(store=store, workdir=workdir))
    assert any("checksum mismatch" in line for line in caught.value.details)


@pytest.mark.usefixtures("proxy")
def test_a_version_that_does_not_exist_is_one_clear_error(store: BlobStore, tmp_path: Path) -> None:
    missing = spec().model_copy(update={"version": "9.9.9"})
    with pytest.raises(BundleError, match="go failed"):
        GoBuilder().build(missing, BuildContext(store=store, workdir=tmp_path))


def test_an_interrupted_build_stops_waiting_for_the_toolchain(store: BlobStore, tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with gotool._TOOLCHAIN, pytest.raises(BundleError, match="interrupted"):
        GoBuilder().build(spec(), BuildContext(store=store, workdir=tmp_path, cancelled=cancelled))


def test_the_toolchain_is_part_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gobuild, "go_version", lambda: "1.26.8")
    first = GoBuilder().inputs(spec())
    monkeypatch.setattr(gobuild, "go_version", lambda: "1.26.9")
    assert GoBuilder().inputs(spec()) != first


def test_seccomp_asks_for_its_static_library() -> None:
    names = {need.name for need in GoBuilder().requirements(spec(cgo=True, tags=("seccomp",)))}
    assert names == {"Go 1.26.0 or newer", "gcc", "pkg-config", "libseccomp.a"}
    assert {need.name for need in GoBuilder().requirements(spec())} == {"Go 1.26.0 or newer"}


def test_a_main_package_is_built_without_an_import_that_cannot_be_had(
    proxy: Path, store: BlobStore, tmp_path: Path
) -> None:
    with_import = MAIN.replace('import "fmt"', 'import (\n\t"fmt"\n\n\t_ "example.org/unserved"\n)')
    with zipfile.ZipFile(proxy / "v1.2.3.zip", "w") as archive:
        archive.writestr("example.org/hello@v1.2.3/go.mod", "module example.org/hello\n\ngo 1.21\n")
        archive.writestr("example.org/hello@v1.2.3/main.go", with_import)
        archive.writestr("example.org/hello@v1.2.3/main_test.go", 'package main\n\nimport _ "example.org/none"\n')
    with pytest.raises(BundleError, match="go failed"):
        build(store, tmp_path / "one", spec())
    assert build(store, tmp_path / "two", spec(leave_out=("example.org/unserved",))).stat().st_size > 0
