"""Pushes a bundle to a registry: what is missing, files first, then images in the order wanted."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Literal

from llmprov.bundle.lock import FILES_REF, BundleLock
from llmprov.bundle.oci import Descriptor, Manifest, contents, parse_manifest, read_index
from llmprov.bundle.registry_push import PushClient, RegistryGoneError
from llmprov.errors import BundleError
from llmprov.progress import Progress, Step

_STREAMS = 4
# An image of this size, in bytes, is what an install waits for. What comes after it waits until it is sent: it would
# take its share of the one connection.
_ALONE = 1_000_000_000
_ATTEMPTS = 4
_BACKOFF = 1.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of one image or of the files: pushed now, or present already. `size` in bytes."""

    ref: str
    digest: str
    size: int
    state: Literal["pushed", "present"]


@dataclass(frozen=True, slots=True)
class PushReport:
    """A whole push; `sent` is the bytes of blobs and manifests that went over the wire."""

    registry: str
    items: tuple[Pushed, ...]
    sent: int
    seconds: float


@dataclass(frozen=True)
class Selection:
    """What to push: everything, or the files (packages included), or images by name, or files and those images.

    Images that are named go in that order, after the files; else the smallest goes first.
    """

    files: bool = False
    images: tuple[str, ...] = ()


CORE_IMAGES = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
    *("etcd", "coredns", "pause", "flannel"),
)
"""What every node needs before it can serve; with the files, this is what an install pushes first."""

BlobPath = Callable[[str], Path]


def push_bundle(directory: Path, url: str, selection: Selection, progress: Progress, *, name: str = "") -> PushReport:
    """Push a bundle directory to the registry at `url` (http://host:port), which people know as `name`.

    Raises:
        BundleError: no bundle, an unknown name, a damaged blob, or a registry that refuses or is gone.
    """
    manifests = _select(directory, selection)
    return push_manifests(lambda sha256: directory / "blobs" / "sha256" / sha256, manifests, url, progress, name=name)


def push_manifests(
    blobs: BlobPath, manifests: Sequence[Descriptor], url: str, progress: Progress, *, name: str = ""
) -> PushReport:
    """Push images and artifacts, each under the reference it is `named`.

    Args:
        blobs: the file of a blob, by the hex of its sha256: `BlobStore.path` will do.
        manifests: in the order in which they are to arrive.
        url: http://host:port.
        progress: gets one step for the whole push.
        name: what people know the registry by; of a tunnel, the far end.
    """
    started = time.monotonic()
    items = _items(blobs, manifests)
    with progress.step("push", f"{len(items)} images to {name or url}") as step:
        push = _Push(blobs, url, name or url, step)
        try:
            with ThreadPoolExecutor(_STREAMS) as pool:
                missing = push.missing(items, pool)
                push.send(missing, pool)
        finally:
            push.close()
    states = [
        Pushed(item.ref, item.descriptor.digest, item.size, "pushed" if item in missing else "present")
        for item in items
    ]
    return PushReport(name or url, tuple(states), push.sent, time.monotonic() - started)


@dataclass(frozen=True)
class _Item:
    """One manifest to push: `repository:tag`, its blobs and their total size."""

    ref: str
    descriptor: Descriptor
    data: bytes
    manifest: Manifest

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return tuple(contents(self.descriptor, self.manifest))[1:]

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.blobs)

    @property
    def repository(self) -> str:
        return self.ref.rpartition(":")[0]

    @property
    def tag(self) -> str:
        return self.ref.rpartition(":")[2]


def _select(directory: Path, selection: Selection) -> list[Descriptor]:
    lock = BundleLock.load(directory)
    images = [lock.image(name) for name in selection.images]
    everything = not (selection.files or images)
    if everything:
        images = sorted(lock.images, key=lambda image: image.size)
    wanted = ([FILES_REF] if selection.files or everything else []) + [image.ref for image in images]
    manifests = {item.ref: item for item in read_index(directory).manifests}
    return [manifests[ref] for ref in dict.fromkeys(wanted) if ref in manifests]


def _items(blobs: BlobPath, manifests: Sequence[Descriptor]) -> list[_Item]:
    items = []
    for descriptor in manifests:
        path = blobs(descriptor.blob.sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: {error.strerror}", remedy="llmprov bundle build") from error
        ref = descriptor.ref or descriptor.digest
        items.append(_Item(ref, descriptor, data, parse_manifest(data, ref)))
    return items


@dataclass
class _Push:
    """The state of one push: connections by thread, bytes sent, and who has which blob."""

    blobs: BlobPath
    url: str
    name: str
    step: Step
    sent: int = 0
    total: int = 0
    done: int = 0
    _connections: threading.local = field(default_factory=threading.local)
    _clients: list[PushClient] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _blob_locks: dict[str, Lock] = field(default_factory=dict)
    _homes: dict[str, str] = field(default_factory=dict)
    _pause: Event = field(default_factory=Event)

    def missing(self, items: list[_Item], pool: ThreadPoolExecutor) -> list[_Item]:
        """The manifests that the registry does not have under their tags; it keeps one only with all its blobs."""

        def absent(item: _Item) -> bool:
            return not self._retried(lambda c: c.has_manifest(item.repository, item.tag, item.descriptor.digest))

        return [item for item, gone in zip(items, pool.map(absent, items), strict=True) if gone]

    def send(self, items: list[_Item], pool: ThreadPoolExecutor) -> None:
        """Send images in order, several blobs at once; each manifest follows the last of its blobs."""
        self.total = sum(item.size for item in items)
        work: list[Future[None]] = []
        try:
            for item in items:
                left = _Countdown(len(item.blobs))
                # The largest first: it must not be left over when the others are done.
                blobs = sorted(item.blobs, key=lambda blob: blob.size, reverse=True)
                work += [pool.submit(self._send_blob, item, blob, left) for blob in blobs]
                if item.size >= _ALONE:
                    _all(work)
            _all(work)
        except BaseException:
            self._pause.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()

    def _send_blob(self, item: _Item, blob: Descriptor, left: "_Countdown") -> None:
        with self._lock:
            blob_lock = self._blob_locks.setdefault(blob.digest, Lock())
        with blob_lock:  # the second image that has this layer waits for the first and shares it
            self._place(item, blob)
        if left.down():
            self._retried(lambda c: c.put_manifest(item.repository, item.tag, item.manifest.media_type, item.data))
            self._count(0, wire=len(item.data))

    def _place(self, item: _Item, blob: Descriptor) -> None:
        self.step.update(item.ref)
        home = self._homes.get(blob.digest)
        if self._retried(lambda c: c.has_blob(item.repository, blob.digest)) or (
            home is not None and self._retried(lambda c: c.mount(item.repository, blob.digest, home))
        ):
            self._count(blob.size, wire=0)
        else:
            self._upload(item, blob)
        self._homes.setdefault(blob.digest, item.repository)

    def _upload(self, item: _Item, blob: Descriptor) -> None:
        path = self.blobs(blob.blob.sha256)
        if not path.is_file():
            raise BundleError(f"{path} is missing ({item.ref})", remedy="llmprov bundle build")

        def attempt(client: PushClient) -> None:
            counted = 0

            def sent(count: int) -> None:
                nonlocal counted
                counted += count
                self._count(count, wire=count)

            try:
                client.upload(item.repository, blob, path, sent)
            except RegistryGoneError:
                self._count(-counted, wire=0)
                raise

        self._retried(attempt)

    def _count(self, size: int, *, wire: int) -> None:
        with self._lock:
            self.done += size
            self.sent += wire
            self.step.update(done=self.done, total=self.total)

    def _retried[T](self, action: Callable[[PushClient], T]) -> T:
        for attempt in range(_ATTEMPTS - 1):
            try:
                return action(self._client())
            except RegistryGoneError:
                if self._pause.wait(_BACKOFF * 2**attempt):
                    raise
        return action(self._client())

    def _client(self) -> PushClient:
        client: PushClient | None = getattr(self._connections, "client", None)
        if client is None:
            client = PushClient(self.url, self.name)
            self._connections.client = client
            with self._lock:
                self._clients.append(client)
        return client


def _all(work: Sequence[Future[None]]) -> None:
    """Wait for all of it; raise what the first that failed raised."""
    for future in work:
        future.result()


class _Countdown:
    """Tells the thread that takes the last of `count` that it did."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = Lock()

    def down(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left == 0
