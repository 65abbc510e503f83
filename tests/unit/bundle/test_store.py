import hashlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from llmprov.bundle.store import Blob, BlobStore, plain_digest
from llmprov.errors import BundleError


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_blob_is_found_by_its_digest(store: BlobStore) -> None:
    blob = store.put_bytes(b"hello")
    assert blob == Blob(digest(b"hello"), 5)
    assert store.has(blob.sha256)
    assert store.has(f"sha256:{blob.sha256}", 5)
    assert store.path(blob.sha256).read_bytes() == b"hello"
    assert store.blob(blob.sha256) == blob


def test_what_was_never_put_is_not_there(store: BlobStore) -> None:
    assert not store.has("0" * 64)
    with pytest.raises(BundleError, match="no blob sha256:000"):
        store.blob("0" * 64)


@pytest.mark.parametrize("bad", ["", "sha256:abc", "../../etc/passwd", "G" * 64, "sha512:" + "0" * 64])
def test_a_digest_never_becomes_another_path(bad: str) -> None:
    with pytest.raises(BundleError, match="is not a sha256 digest"):
        plain_digest(bad)


def test_a_file_is_copied_and_stays(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "kubelet"
    source.write_bytes(b"x" * 3_000_000)
    blob = store.put_file(source, expected_sha256=digest(b"x" * 3_000_000))
    assert source.exists()
    assert store.path(blob.sha256).stat().st_size == 3_000_000


def test_a_moved_file_is_the_very_file(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "kubelet"
    source.write_bytes(b"moved")
    inode = source.stat().st_ino
    blob = store.put_file(source, move=True)
    assert not source.exists()
    assert store.path(blob.sha256).stat().st_ino == inode


@pytest.mark.parametrize("move", [True, False])
def test_wrong_content_is_refused_and_nothing_is_left(store: BlobStore, tmp_path: Path, *, move: bool) -> None:
    source = tmp_path / "kubelet"
    source.write_bytes(b"evil")
    with pytest.raises(BundleError, match="expected 111"):
        store.put_file(source, expected_sha256="1" * 64, move=move)
    assert list((store.root / "sha256").iterdir()) == []
    assert list((store.root / "tmp").iterdir()) == []


def test_a_blob_written_to_is_noticed_and_dropped(store: BlobStore) -> None:
    blob = store.put_bytes(b"hello")
    path = store.path(blob.sha256)
    path.chmod(0o644)
    path.write_bytes(b"hallo")
    assert not store.has(blob.sha256, 5)
    assert not path.exists()


def test_a_truncated_blob_is_noticed(store: BlobStore) -> None:
    blob = store.put_bytes(b"hello")
    os.truncate(store.path(blob.sha256), 2)
    assert not store.has(blob.sha256)


def test_a_blob_with_another_time_but_its_content_is_kept(store: BlobStore) -> None:
    blob = store.put_bytes(b"hello")
    os.utime(store.path(blob.sha256))
    assert store.has(blob.sha256, 5)
    assert store.has(blob.sha256, 5)


def test_many_threads_may_put_the_same(store: BlobStore) -> None:
    data = b"z" * 500_000
    threads = [threading.Thread(target=store.put_bytes, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.has(digest(data), len(data))
    assert list((store.root / "tmp").iterdir()) == []


def test_sweep_removes_what_dead_processes_left(store: BlobStore) -> None:
    dead = store.root / "tmp" / "999999999-abc"
    dead.mkdir()
    (dead / "half").write_text("half")
    (store.root / "tmp" / "999999998-def").write_text("half")
    alive = store.temporary_path()
    alive.write_text("mine")
    store.sweep()
    assert list((store.root / "tmp").iterdir()) == [alive]


def test_a_link_shares_the_bytes_on_one_file_system(store: BlobStore, tmp_path: Path) -> None:
    blob = store.put_bytes(b"hello")
    store.link_into(blob.sha256, tmp_path / "copy")
    assert (tmp_path / "copy").samefile(store.path(blob.sha256))


def test_another_file_system_gets_a_copy(store: BlobStore) -> None:
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == store.root.stat().st_dev:  # noqa: S108
        pytest.skip("no second file system here")
    blob = store.put_bytes(b"hello")
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        store.link_into(blob.sha256, elsewhere / "copy")
        assert (elsewhere / "copy").read_bytes() == b"hello"
        assert [path.name for path in elsewhere.iterdir()] == ["copy"]
    finally:
        shutil.rmtree(elsewhere)
