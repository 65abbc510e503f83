"""Compressors between a layer's tar stream and its blob."""

import gzip
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, Literal, Protocol, cast

from llmprov.bundle.store import CHUNK, BlobWriter
from llmprov.errors import BundleError

Compression = Literal["none", "gzip", "zstd"]

# Speed over ratio: on the model and engine layers level 3 gives most of the saving at the speed of the disk.
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6


class Sink(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> int:
        """Take some."""
        ...


class Target(Sink, Protocol):
    """Takes bytes until it is told that there are no more."""

    def finish(self) -> None:
        """Write out what is held back."""
        ...


class _Plain:
    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer

    def write(self, data: bytes, /) -> int:
        return self._writer.write(data)

    def finish(self) -> None:
        """Nothing is held back."""


class _Gzip:
    def __init__(self, writer: BlobWriter) -> None:
        self._file = gzip.GzipFile(
            filename="", mode="wb", compresslevel=_GZIP_LEVEL, mtime=0, fileobj=cast("BinaryIO", writer)
        )

    def write(self, data: bytes, /) -> int:
        return self._file.write(data)

    def finish(self) -> None:
        self._file.close()


class _Zstd:
    """The zstd program on all cores: input from here, output straight into the blob."""

    def __init__(self, writer: BlobWriter) -> None:
        program = shutil.which("zstd")
        if program is None:
            raise BundleError("the program zstd is not installed", remedy="install the package zstd (apt install zstd)")
        argv = [program, "-q", "-c", f"-{_ZSTD_LEVEL}", "-T0"]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._stdin = cast("IO[bytes]", self.process.stdin)
        self._stdout = cast("IO[bytes]", self.process.stdout)
        self._error: BaseException | None = None
        self._reader = threading.Thread(target=self._drain, args=(writer,), daemon=True)
        self._reader.start()

    def _drain(self, writer: BlobWriter) -> None:
        try:
            pump(self._stdout, writer)
        except OSError as error:
            self._error = error
            self.process.kill()

    def write(self, data: bytes, /) -> int:
        try:
            return self._stdin.write(data)
        except BrokenPipeError:
            self.finish()
            raise

    def finish(self) -> None:
        try:
            self._stdin.close()
        finally:
            self._reader.join()
            code = self.process.wait()
        if self._error is not None:
            raise self._error
        if code != 0:
            raise BundleError(
                f"zstd failed with exit code {code}", remedy="look for its message above; is the disk full?"
            )

    def abandon(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self._stdout.close()


@contextmanager
def compressor(writer: BlobWriter, compression: Compression) -> Iterator[Target]:
    """Compress into a blob; `finish` must be called for the blob to be whole."""
    if compression == "none":
        yield _Plain(writer)
    elif compression == "gzip":
        yield _Gzip(writer)
    else:
        target = _Zstd(writer)
        try:
            yield target
        finally:
            target.abandon()


def pump(source: IO[bytes], target: Sink) -> None:
    """Pass a stream on, a piece at a time."""
    while chunk := source.read(CHUNK):
        target.write(chunk)
