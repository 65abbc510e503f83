import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from llmprov.bundle.compression import Compression
from llmprov.bundle.layers import TarEntry, layer_from_tar, tar_layer
from llmprov.bundle.oci import (
    ImageConfig,
    contents,
    describe,
    parse_manifest,
    read_index,
    write_artifact,
    write_image,
    write_index,
)
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_bytes(b"\x7fELF" * 1000)
    (root / "usr/bin/tool").chmod(0o755)
    os.link(root / "usr/bin/tool", root / "usr/bin/tool-again")
    (root / "bin").symlink_to("usr/bin")
    os.mkfifo(root / "queue")
    return root


def members(store: BlobStore, digest: str) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(store.path(digest)) as archive:
        return {info.name: info for info in archive.getmembers()}


def test_the_same_tree_gives_the_same_layer_whenever_it_was_written(store: BlobStore, tree: Path) -> None:
    first = tar_layer(store, tree)
    for path in tree.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert tar_layer(store, tree) == first


def test_a_layer_is_sorted_owned_by_root_and_without_times(store: BlobStore, tree: Path) -> None:
    found = members(store, tar_layer(store, tree).blob.sha256)
    assert list(found) == ["bin", "queue", "usr", "usr/bin", "usr/bin/tool", "usr/bin/tool-again"]
    assert {(info.uid, info.gid, info.mtime) for info in found.values()} == {(0, 0, 0)}
    assert found["usr/bin/tool"].mode == 0o755
    assert (found["usr/bin/tool-again"].type, found["usr/bin/tool-again"].linkname) == (tarfile.LNKTYPE, "usr/bin/tool")
    assert (found["bin"].type, found["bin"].linkname) == (tarfile.SYMTYPE, "usr/bin")
    assert found["queue"].isfifo()


def test_a_prefix_brings_its_directories(store: BlobStore, tree: Path) -> None:
    found = members(store, tar_layer(store, tree, prefix="/models/x/").blob.sha256)
    assert list(found)[:3] == ["models", "models/x", "models/x/bin"]
    assert found["models/x/usr/bin/tool-again"].linkname == "models/x/usr/bin/tool"


def test_owners_can_be_kept(store: BlobStore, tree: Path) -> None:
    found = members(store, tar_layer(store, tree, owner=None).blob.sha256)
    assert found["usr/bin/tool"].uid == (tree / "usr/bin/tool").stat().st_uid


def test_sockets_are_left_out(store: BlobStore) -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/s")
        assert members(store, tar_layer(store, Path(directory)).blob.sha256) == {}


def test_members_can_come_from_anywhere(store: BlobStore, tree: Path) -> None:
    entries = [
        TarEntry("etc/passwd", content=b"nobody:x:65534:65534::/:/bin/false\n"),
        TarEntry("app", source=tree / "usr/bin/tool", mode=0o555, uid=65534, gid=65534),
        TarEntry("run", symlink="/var/run"),
        TarEntry("data", mode=0o1777),
    ]
    found = members(store, tar_layer(store, entries).blob.sha256)
    assert list(found) == ["app", "data", "etc", "etc/passwd", "run"]
    assert (found["app"].mode, found["app"].uid) == (0o555, 65534)
    assert (found["data"].isdir(), found["data"].mode) == (True, 0o1777)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_compression_changes_the_blob_and_not_the_contents(
    store: BlobStore, tree: Path, compression: Compression
) -> None:
    if compression == "zstd" and not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    plain = tar_layer(store, tree)
    layer = tar_layer(store, tree, compression=compression)
    assert layer.diff_id == plain.diff_id == f"sha256:{plain.blob.sha256}"
    assert layer == tar_layer(store, tree, compression=compression)
    assert layer == layer_from_tar(store, store.path(plain.blob.sha256), compression=compression)
    assert (layer.blob.size < plain.blob.size) == (compression != "none")


def test_without_zstd_the_error_says_what_to_install(
    store: BlobStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BundleError, match="zstd is not installed") as caught:
        tar_layer(store, tree, compression="zstd")
    assert "apt install zstd" in caught.value.remedy
    assert list((store.root / "tmp").iterdir()) == []


def test_zstd_that_fails_is_an_error(
    store: BlobStore, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "zstd"
    program.write_text("#!/bin/sh\ncat >/dev/null\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BundleError, match="exit code 3"):
        tar_layer(store, tree, compression="zstd")


def test_a_layer_of_no_directory_is_refused(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a directory"):
        tar_layer(store, tmp_path / "nothing")


def test_an_image_has_a_stable_digest(store: BlobStore) -> None:
    layer = tar_layer(store, [TarEntry("hello", content=b"hello\n", mode=0o755)])
    config = ImageConfig(entrypoint=("/hello",), env={"B": "2", "A": "1"}, user="65534", labels={"k": "v"})
    image = write_image(store, [layer], config)
    # A change here changes every image's digest: hosts would pull all of them again.
    assert image.digest == "sha256:10bd7a191382b58df71ef26c75c415b7600b86dcf1d83167a2ccc5b7fa414e4d"
    manifest = parse_manifest(store.path(image.digest).read_bytes(), "it")
    document = json.loads(store.path(manifest.config.digest).read_bytes())
    assert document["config"]["Env"] == ["A=1", "B=2"]
    assert document["rootfs"]["diff_ids"] == [layer.diff_id]
    assert [part.digest for part in contents(image, manifest)] == [
        image.digest,
        manifest.config.digest,
        manifest.layers[0].digest,
    ]


def test_an_artifact_keeps_file_names(store: BlobStore) -> None:
    layer = tar_layer(store, [TarEntry("x", content=b"x")])
    file = describe(layer.blob, "application/vnd.test.file", {"title": "x.tar"})
    artifact = write_artifact(store, "application/vnd.test", [file])
    manifest = json.loads(store.path(artifact.digest).read_bytes())
    assert manifest["artifactType"] == "application/vnd.test"
    assert manifest["layers"][0]["annotations"] == {"title": "x.tar"}


def test_the_index_of_a_layout_comes_back(store: BlobStore, tmp_path: Path) -> None:
    image = write_image(store, []).named("llmprov.internal/x:1")
    write_index(tmp_path / "layout", [image])
    assert read_index(tmp_path / "layout").manifests == (image,)
    assert json.loads((tmp_path / "layout/oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_skopeo_reads_a_layout(store: BlobStore, tmp_path: Path, tree: Path) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    image = write_image(store, [tar_layer(store, tree)], ImageConfig(cmd=("sh",)))
    (tmp_path / "layout/blobs/sha256").mkdir(parents=True)
    for part in contents(image, parse_manifest(store.path(image.digest).read_bytes(), "it")):
        store.link_into(part.digest, tmp_path / "layout/blobs/sha256" / part.blob.sha256)
    write_index(tmp_path / "layout", [image.named("x")])
    argv = ["skopeo", "inspect", f"oci:{tmp_path}/layout:x"]
    assert json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)["Digest"] == image.digest


@pytest.mark.parametrize(("content", "message"), [(None, "is not a bundle"), ("{", "is not an OCI index")])
def test_a_broken_index_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "index.json").write_text(content)
    with pytest.raises(BundleError, match=message):
        read_index(tmp_path)


def test_a_broken_manifest_is_named() -> None:
    with pytest.raises(BundleError, match="etcd is not an OCI manifest"):
        parse_manifest(b'{"layers": []}', "etcd")
