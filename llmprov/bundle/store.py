"""A content-addressed store: one read-only file per sha256, shared by every bundle and build on the machine."""

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from llmprov.errors import BundleError

CHUNK = 1 << 20

# Every stored blob carries this modification time. Any write to it moves the time, so a glance tells whether the
# content can still be what was hashed; only then is the file hashed again.
_STAMP_NS = 1_577_836_800_000_000_000
_MODE = 0o444


@dataclass(frozen=True, slots=True)
class Blob:
    """Some bytes, by what they are: sha256 in lowercase hex, and size in bytes."""

    sha256: str
    size: int


def plain_digest(digest: str) -> str:
    """The hex part of `sha256:<hex>` or `<hex>`; anything else is refused, since it becomes a path."""
    value = digest.removeprefix("sha256:")
    if len(value) != 64 or not set(value) <= set("0123456789abcdef"):  # noqa: PLR2004 - sha256 in hex
        raise BundleError(f"{digest!r} is not a sha256 digest", remedy="write 64 lowercase hexadecimal digits")
    return value


def sha256_of(path: Path) -> Blob:
    """Hash a file at the speed of the disk."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Blob(digest, os.fstat(file.fileno()).st_size)


class BlobWriter:
    """A new blob being written: hashes while it writes, becomes visible only when complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("xb", buffering=0)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append bytes."""
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(data)
        return len(data)

    def finish(self) -> Blob:
        """Close the file and say what was written."""
        self._file.close()
        return Blob(self._hash.hexdigest(), self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class BlobStore:
    """Blobs under `root/sha256/<hex>`; safe for several threads and processes at once.

    Args:
        root: created when missing. Temporary files live below it, so a blob appears by one rename.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "sha256"
        self._temporary = root / "tmp"
        for directory in (self._blobs, self._temporary):
            directory.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where a blob is or would be."""
        return self._blobs / plain_digest(digest)

    def has(self, digest: str, size: int | None = None) -> bool:
        """Tell whether a blob is here and whole; one that was written to is hashed again, and dropped if it differs."""
        path = self.path(digest)
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        if (size is None or status.st_size == size) and status.st_mtime_ns == _STAMP_NS:
            return True
        if sha256_of(path).sha256 == plain_digest(digest):
            stamp(path)
            return True
        path.unlink(missing_ok=True)
        return False

    def blob(self, digest: str) -> Blob:
        """The blob of a digest that must be here."""
        if not self.has(digest):
            raise BundleError(f"no blob sha256:{plain_digest(digest)} in {self.root}", remedy="llmprov bundle build")
        return Blob(plain_digest(digest), self.path(digest).stat().st_size)

    def put_file(self, path: Path, *, expected_sha256: str | None = None, move: bool = False) -> Blob:
        """Add a file.

        Args:
            path: the file to add; it stays where it is unless `move`.
            expected_sha256: raise BundleError when the content has another digest.
            move: take the file itself instead of a copy (no bytes are copied on the same file system).
        """
        if move and path.stat().st_dev == self._blobs.stat().st_dev:
            blob = sha256_of(path)
            _expect(blob, expected_sha256, path)
            self.adopt(path, blob)
            return blob
        with self.writer() as writer, path.open("rb", buffering=0) as source:
            while chunk := source.read(CHUNK):
                writer.write(chunk)
            blob = writer.finish()
            _expect(blob, expected_sha256, path)
            self.adopt(writer.path, blob)
        if move:
            path.unlink()
        return blob

    def put_bytes(self, data: bytes) -> Blob:
        """Add a small blob from memory."""
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        if not self.has(blob.sha256, blob.size):
            with self.writer() as writer:
                writer.write(data)
                self.adopt(writer.path, writer.finish())
        return blob

    def put_written(self, writer: BlobWriter) -> Blob:
        """Add what a `writer()` has written."""
        blob = writer.finish()
        self.adopt(writer.path, blob)
        return blob

    @contextmanager
    def writer(self) -> Iterator[BlobWriter]:
        """Open a temporary file on the store's file system; it vanishes unless put with `put_written`."""
        with BlobWriter(self.temporary_path()) as writer:
            try:
                yield writer
            finally:
                writer.path.unlink(missing_ok=True)

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """Make a directory on the store's file system; it goes with all that is in it."""
        path = self.temporary_path()
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def temporary_path(self) -> Path:
        """A new name on the store's file system, swept by `sweep` once this process is gone."""
        return self._temporary / f"{os.getpid()}-{uuid.uuid4().hex}"

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        for path in self._temporary.iterdir():
            owner = path.name.split("-", 1)[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def link_into(self, digest: str, target: Path) -> None:
        """Place a blob at `target`: a hard link on the same file system, a copy elsewhere; whole or not at all."""
        source = self.path(digest)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            _link_or_copy(source, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def adopt(self, path: Path, blob: Blob) -> None:
        """Take a finished file on the store's file system whose digest the caller has just computed."""
        path.chmod(_MODE)
        stamp(path)
        path.replace(self._blobs / blob.sha256)


def stamp(path: Path) -> None:
    """Mark a file as holding what its name says."""
    os.utime(path, ns=(_STAMP_NS, _STAMP_NS))


def is_stamped(path: Path) -> bool:
    """Tell whether a file was left alone since its content was last known to be right."""
    return path.stat().st_mtime_ns == _STAMP_NS


def distrust(path: Path) -> None:
    """Take the mark off a file that was found to be bad, so that the next build replaces it."""
    with contextlib.suppress(OSError):  # a bundle on a read-only disk is verified too
        os.utime(path)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
            raise
        shutil.copyfile(source, target)
        with contextlib.suppress(PermissionError):  # file systems of USB disks have no modes
            target.chmod(_MODE)
        stamp(target)


def _expect(blob: Blob, expected: str | None, path: Path) -> None:
    if expected is not None and blob.sha256 != plain_digest(expected):
        raise BundleError(
            f"{path} has sha256 {blob.sha256}, expected {plain_digest(expected)}",
            remedy="fetch the file again, or correct the digest if the new content is intended",
        )
