"""Image layers: deterministic tar streams, compressed and hashed on the way into the store."""

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from llmprov.bundle.compression import Compression, Sink, compressor, pump
from llmprov.bundle.store import CHUNK, Blob, BlobStore
from llmprov.errors import BundleError

__all__ = ["MEDIA_TYPES", "Compression", "Layer", "TarEntry", "layer_from_tar", "tar_layer"]

MEDIA_TYPES: dict[Compression, str] = {
    "none": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: the stored (perhaps compressed) blob, its media type, and `sha256:<hex>` of the bare tar."""

    blob: Blob
    media_type: str
    diff_id: str


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One member of a layer.

    Args:
        path: where it goes in the image, relative to the root: `usr/bin/etcd`.
        source: the file, symbolic link or directory to take it from; type and content come from there.
        content: the content itself, instead of `source`.
        symlink: the target of a symbolic link, instead of `source`.
        mode: permission bits; by default those of `source`, or 0644. A member with none of the three is a directory.
        uid: numeric owner.
        gid: numeric group.
    """

    path: str
    source: Path | None = None
    content: bytes | None = None
    symlink: str | None = None
    mode: int | None = None
    uid: int = 0
    gid: int = 0


def tar_layer(
    store: BlobStore,
    contents: Path | Iterable[TarEntry],
    *,
    compression: Compression = "none",
    prefix: str = "",
    owner: tuple[int, int] | None = (0, 0),
) -> Layer:
    """Write a layer; the same contents always give the same digest.

    Args:
        store: where the blob goes.
        contents: a directory whose contents become the root of the layer, or the members themselves (any order).
        compression: `zstd` needs the zstd program.
        prefix: a directory of the image to put everything in: `models/smollm2`.
        owner: uid and gid of every member of a directory; None keeps those on disk.

    Times are zero, members sorted, hard and symbolic links kept; sockets are left out. Streams: memory does not grow
    with the contents.
    """
    entries = _walk(contents, owner) if isinstance(contents, Path) else list(contents)
    members = sorted(_with_prefix(entries, prefix), key=lambda entry: PurePosixPath(entry.path).parts)
    with _layer_stream(store, compression) as stream:
        _write_tar(stream.sink, members)
    return stream.layer()


def layer_from_tar(store: BlobStore, source: Path | IO[bytes], *, compression: Compression = "none") -> Layer:
    """Make a layer of an uncompressed tar file or stream, byte for byte."""
    with _layer_stream(store, compression) as stream:
        if isinstance(source, Path):
            with source.open("rb", buffering=0) as file:
                pump(file, stream.sink)
        else:
            pump(source, stream.sink)
    return stream.layer()


class _Hashing:
    """Passes bytes on and hashes them; tells its position, which tarfile asks for."""

    def __init__(self, target: Sink) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self._size += len(data)
        self._target.write(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


@dataclass
class _LayerStream:
    sink: _Hashing
    media_type: str
    blob: Blob | None = None

    def layer(self) -> Layer:
        if self.blob is None:
            raise BundleError("a layer was read before it was written")
        return Layer(self.blob, self.media_type, self.sink.digest)


@contextmanager
def _layer_stream(store: BlobStore, compression: Compression) -> Iterator[_LayerStream]:
    with store.writer() as writer, compressor(writer, compression) as target:
        stream = _LayerStream(_Hashing(target), MEDIA_TYPES[compression])
        yield stream
        target.finish()
        stream.blob = store.put_written(writer)


def _walk(directory: Path, owner: tuple[int, int] | None) -> list[TarEntry]:
    if not directory.is_dir():
        raise BundleError(
            f"{directory} is not a directory", remedy="give the directory that holds the layer's contents"
        )
    found: list[TarEntry] = []
    for root, directories, files in os.walk(directory):
        for name in [*directories, *files]:
            path = Path(root, name)
            status = path.lstat()
            if stat.S_ISSOCK(status.st_mode):
                continue
            uid, gid = owner or (status.st_uid, status.st_gid)
            found.append(TarEntry(path.relative_to(directory).as_posix(), source=path, uid=uid, gid=gid))
    return found


def _with_prefix(entries: Iterable[TarEntry], prefix: str) -> Iterator[TarEntry]:
    """Put members below `prefix`, with an entry for every directory on the way down that has none of its own."""
    base = PurePosixPath(prefix.strip("/"))
    placed = [
        TarEntry(
            (base / entry.path.strip("/")).as_posix(),
            entry.source,
            entry.content,
            entry.symlink,
            entry.mode,
            entry.uid,
            entry.gid,
        )
        for entry in entries
    ]
    present = {entry.path for entry in placed}
    parents = {parent.as_posix() for entry in placed for parent in PurePosixPath(entry.path).parents}
    yield from placed
    yield from (TarEntry(parent, mode=0o755) for parent in parents - present - {"."})


def _write_tar(sink: _Hashing, members: Iterable[TarEntry]) -> None:
    first_names: dict[tuple[int, int], str] = {}
    with tarfile.TarFile(
        fileobj=cast("BinaryIO", sink), mode="w", format=tarfile.PAX_FORMAT, copybufsize=CHUNK
    ) as archive:
        for member in members:
            info = _tar_info(member, first_names)
            if member.content is not None:
                archive.addfile(info, BytesIO(member.content))
            elif info.isreg() and member.source is not None:
                with member.source.open("rb", buffering=0) as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)


def _tar_info(member: TarEntry, first_names: dict[tuple[int, int], str]) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member.path)
    info.uid, info.gid, info.mtime = member.uid, member.gid, 0
    if member.content is not None:
        info.size, info.mode = len(member.content), 0o644
    elif member.symlink is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, member.symlink, 0o777
    elif member.source is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    else:
        _describe_source(info, member.source, first_names)
    if member.mode is not None:
        info.mode = member.mode
    return info


def _describe_source(info: tarfile.TarInfo, source: Path, first_names: dict[tuple[int, int], str]) -> None:
    status = source.lstat()
    info.mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(source.readlink()), 0o777
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        info.type = tarfile.CHRTYPE if stat.S_ISCHR(status.st_mode) else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    elif stat.S_ISFIFO(status.st_mode):
        info.type = tarfile.FIFOTYPE
    elif (first := first_names.setdefault((status.st_dev, status.st_ino), info.name)) != info.name:
        info.type, info.linkname = tarfile.LNKTYPE, first
    else:
        info.size = status.st_size
