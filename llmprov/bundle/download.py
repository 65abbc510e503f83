"""Downloads that survive what networks do: resumed by range, retried with patience, checked against a sha256."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import BinaryIO, Self

import requests
import urllib3
from requests.auth import AuthBase

from llmprov import __version__
from llmprov.bundle.checksums import published_sha256
from llmprov.bundle.store import CHUNK, Blob, BlobStore, plain_digest
from llmprov.errors import BundleError

TIMEOUT = (10.0, 60.0)
_DOCUMENT_LIMIT = 4 << 20
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 30.0

OnBytes = Callable[[int, int | None], None]


class UnavailableError(BundleError):
    """The server cannot be reached, or does not have what was asked for; another source may."""


class _TransientError(Exception):
    """Worth another attempt, after `wait` seconds when the server said so."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def new_session(auth: AuthBase | None = None) -> requests.Session:
    """An HTTP session that honours the user's proxy variables."""
    session = requests.Session()
    session.headers["User-Agent"] = f"llmprov/{__version__}"
    # Archives are hashed as published: a transparently decompressed body would never match.
    session.headers["Accept-Encoding"] = "identity"
    session.auth = auth
    return session


@dataclass(frozen=True)
class Downloader:
    """Fetches files into a store.

    Args:
        store: takes the files; half-fetched ones stay below it and are continued next time.
        cancelled: ends a download or a wait at once when set.
        attempts: without progress, before giving up.
        backoff: seconds before the second attempt; doubles each time.
    """

    store: BlobStore
    cancelled: Event = field(default_factory=Event)
    attempts: int = 5
    backoff: float = 0.5

    def document(self, url: str, *, session: requests.Session | None = None, accept: str = "*/*") -> tuple[str, bytes]:
        """Fetch a small document, such as a checksum file or a manifest: its content type and its bytes."""

        def attempt() -> tuple[str, bytes]:
            headers = {"Accept": accept}
            with (session or new_session()).get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
                _check(response, url)
                data = response.raw.read(_DOCUMENT_LIMIT + 1, decode_content=False)
                if len(data) > _DOCUMENT_LIMIT:
                    raise BundleError(f"{url} is larger than {_DOCUMENT_LIMIT} bytes", remedy="check the address")
                return response.headers.get("Content-Type", "").partition(";")[0].strip(), data

        return self._retry(url, attempt, lambda: 0)

    def checksum(self, checksum_url: str, filename: str) -> str:
        """The sha256 that a published checksum file gives for `filename`."""
        text = self.document(checksum_url)[1].decode(errors="replace")
        return published_sha256(text, filename, checksum_url)

    def fetch(
        self,
        url: str,
        *,
        sha256: str | None,
        on_bytes: OnBytes | None = None,
        session: requests.Session | None = None,
    ) -> Blob:
        """Fetch a file into the store.

        Args:
            url: http or https; redirects are followed, never from https to http.
            sha256: what the content must be; a blob that is already stored is not fetched.
            on_bytes: called with bytes so far and in all (None when the server does not say).
            session: carries credentials, if any are needed.

        Raises:
            UnavailableError: unreachable after all attempts, or the server refuses (404, 403).
            BundleError: the content has another sha256.
        """
        if sha256 is not None and self.store.has(sha256):
            return self.store.blob(sha256)
        session = session or new_session()
        report = on_bytes or (lambda _done, _total: None)
        with _Partial.open(self.store, url) as partial:
            resumed = partial.size > 0
            blob = self._complete(session, url, partial, sha256, report)
            if resumed and sha256 is not None and blob.sha256 != plain_digest(sha256):
                partial.restart()  # what was kept from an earlier run may be of another file
                blob = self._complete(session, url, partial, sha256, report)
            if sha256 is not None and blob.sha256 != plain_digest(sha256):
                partial.discard()
                raise BundleError(
                    f"{url} has sha256 {blob.sha256} ({blob.size} bytes), expected {plain_digest(sha256)}",
                    remedy="the file was changed or damaged on the way; try again, and if it stays, check the catalog",
                )
            partial.keep(self.store, blob)
            return blob

    def _complete(
        self, session: requests.Session, url: str, partial: "_Partial", sha256: str | None, report: OnBytes
    ) -> Blob:
        def attempt() -> Blob:
            self._receive(session, url, partial, anyway=sha256 is not None, report=report)
            return partial.blob()

        return self._retry(url, attempt, lambda: partial.size)

    def _receive(
        self, session: requests.Session, url: str, partial: "_Partial", *, anyway: bool, report: OnBytes
    ) -> None:
        headers = partial.range_headers(anyway=anyway)
        with session.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                partial.restart()
                raise _TransientError("the server does not accept the range of the part that is here")
            _check(response, url)
            if response.status_code != requests.codes.partial_content or not partial.continues(response):
                partial.restart()
            partial.remember(response)
            length = response.headers.get("Content-Length")
            total = partial.size + int(length) if length else None
            report(partial.size, total)
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                self._stop_if_cancelled(url)
                partial.write(chunk)
                report(partial.size, total)
        if total is not None and partial.size < total:
            raise _TransientError(f"truncated: {partial.size} of {total} bytes came")

    def _retry[T](self, url: str, attempt: Callable[[], T], position: Callable[[], int]) -> T:
        """Attempt until it works; an attempt that got further than any before it does not count."""
        failures, furthest = 0, position()
        while True:
            try:
                return attempt()
            except _TransientError as error:
                problem, wait = str(error), error.wait
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                problem, wait = _short(error), None
            if position() > furthest:
                failures, furthest = 0, position()
            failures += 1
            if failures >= self.attempts:
                raise UnavailableError(
                    f"{url} cannot be fetched: {problem} ({failures} attempts)",
                    remedy="check the network and proxy settings of this machine, then run the same command again",
                )
            self.cancelled.wait(min(_LONGEST_WAIT, wait or self.backoff * 2 ** (failures - 1)))
            self._stop_if_cancelled(url)

    def _stop_if_cancelled(self, url: str) -> None:
        if self.cancelled.is_set():
            raise BundleError(f"interrupted while fetching {url}", remedy="run the same command again to go on")


class _Partial:
    """A download under way: the bytes so far, their running hash, and what tells whether the server still has them."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._notes = path.with_suffix(".json")
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    @classmethod
    def open(cls, store: BlobStore, url: str) -> Self:
        """Open the part of `url` fetched so far; waits for another process that is fetching the same."""
        directory = store.root / "partial"
        directory.mkdir(exist_ok=True)
        path = directory / hashlib.sha256(url.encode()).hexdigest()
        while True:
            file = path.open("ab+", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if path.stat().st_ino == _inode(file):
                    break
            file.close()  # the other process completed it and moved it away
        partial = cls(path, file)
        partial._hash_present()
        return partial

    def _hash_present(self) -> None:
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)

    def range_headers(self, *, anyway: bool) -> dict[str, str]:
        """Headers that ask for the rest; `anyway` when a known sha256 will tell whether the parts belong together."""
        validator = self._validator()
        if not self.size or not (validator or anyway):
            return {}
        headers = {"Range": f"bytes={self.size}-"}
        return headers | {"If-Range": validator} if validator else headers

    def continues(self, response: requests.Response) -> bool:
        """Tell whether a partial response starts where this part ends."""
        return response.headers.get("Content-Range", "").startswith(f"bytes {self.size}-")

    def remember(self, response: requests.Response) -> None:
        """Note what identifies this version of the file on the server."""
        etag = response.headers.get("ETag", "")
        validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        self._notes.write_text(json.dumps({"validator": validator}))

    def _validator(self) -> str:
        with suppress(OSError, ValueError):
            return str(json.loads(self._notes.read_text())["validator"])
        return ""

    def write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:  # a disk that fills up takes a part before it refuses the rest
            view = view[self._file.write(view) :]
        self._hash.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self.size = 0

    def blob(self) -> Blob:
        return Blob(self._hash.hexdigest(), self.size)

    def keep(self, store: BlobStore, blob: Blob) -> None:
        store.adopt(self._path, blob)
        self._notes.unlink(missing_ok=True)

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _check(response: requests.Response, url: str) -> None:
    hops = [*(hop.url for hop in response.history), response.url]
    if hops[0].startswith("https:") and any(hop.startswith("http:") for hop in hops):
        raise BundleError(f"{url} redirects from https to http", remedy="use an address that stays on https")
    if response.status_code in _RETRIED:
        after = response.headers.get("Retry-After", "")
        raise _TransientError(f"HTTP {response.status_code}", float(after) if after.isdigit() else None)
    if response.status_code >= requests.codes.bad_request:
        remedy = "check the version and address in the catalog, and the proxy settings of this machine"
        if response.status_code == requests.codes.unauthorized:
            remedy = "check the reference; if the registry wants a login, use skopeo login or docker login"
        raise UnavailableError(f"{url} answers HTTP {response.status_code} {response.reason}", remedy=remedy)


def _short(error: Exception) -> str:
    """The innermost reason: requests and urllib3 wrap it several times."""
    reason: BaseException = error
    while True:
        inner = getattr(reason, "reason", None) or next(
            (arg for arg in reason.args if isinstance(arg, Exception)), None
        )
        if not isinstance(inner, BaseException) or inner is reason:
            return str(reason) or type(reason).__name__
        reason = inner


def _inode(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_ino
