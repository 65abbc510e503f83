"""Pulls one image (linux/amd64) from a registry into the store, its manifest byte for byte, so its digest stays."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

from llmprov.bundle.download import Downloader, OnBytes, new_session
from llmprov.bundle.oci import (
    INDEX_TYPES,
    MANIFEST,
    MANIFEST_TYPES,
    Descriptor,
    Index,
    contents,
    digest_of,
    parse_manifest,
)
from llmprov.bundle.registry_auth import RegistryAuth
from llmprov.bundle.registry_ref import ImageRef
from llmprov.errors import BundleError
from llmprov.progress import Step

_ACCEPT = ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))
_PARALLEL_BLOBS = 4


def pull_image(ref: ImageRef, downloader: Downloader, step: Step) -> Descriptor:
    """Pull an image; layers that are stored already are not fetched, half-fetched ones are continued.

    Raises:
        UnavailableError: the registry cannot be reached or has no such image.
        BundleError: what came is not what the digest says, or there is no linux/amd64 variant.
    """
    client = _RegistryClient(ref, downloader)
    descriptor, data = client.manifest(ref.reference)
    if descriptor.media_type in INDEX_TYPES:
        descriptor, data = client.manifest(_for_this_platform(data, ref).digest)
    manifest = parse_manifest(data, f"{ref.host}/{ref.repository}@{descriptor.digest}")
    parts = [part for part in contents(descriptor, manifest) if part.digest != descriptor.digest]
    counter = _ByteCounter(step, sum(part.size for part in parts))
    with ThreadPoolExecutor(_PARALLEL_BLOBS) as pool:
        for _ in pool.map(lambda part: client.blob(part, counter), parts):
            pass
    downloader.store.put_bytes(data)
    return descriptor


class _RegistryClient:
    def __init__(self, ref: ImageRef, downloader: Downloader) -> None:
        self._root = f"{ref.base_url}/v2/{ref.repository}"
        self._downloader = downloader
        self._session = new_session(RegistryAuth(ref.host, ref.repository))

    def manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        """Fetch a manifest or index; one asked for by digest must hash to it."""
        url = f"{self._root}/manifests/{reference}"
        media_type, data = self._downloader.document(url, session=self._session, accept=_ACCEPT)
        digest = digest_of(data)
        if reference.startswith("sha256:") and reference != digest:
            raise BundleError(
                f"{url} has digest {digest}", remedy="the registry served other content than asked for; try again later"
            )
        if media_type not in MANIFEST_TYPES | INDEX_TYPES:
            media_type = _embedded_type(data)
        return Descriptor(media_type=media_type, digest=digest, size=len(data)), data

    def blob(self, part: Descriptor, counter: "_ByteCounter") -> None:
        url = f"{self._root}/blobs/{part.digest}"
        on_bytes = counter.of(part.digest)
        blob = self._downloader.fetch(url, sha256=part.digest, on_bytes=on_bytes, session=self._session)
        on_bytes(blob.size, blob.size)
        if blob.size != part.size:
            raise BundleError(
                f"{url} has {blob.size} bytes, its manifest says {part.size}", remedy="the image is broken upstream"
            )


def _for_this_platform(index: bytes, ref: ImageRef) -> Descriptor:
    manifests = Index.model_validate_json(index).manifests
    for item in manifests:
        if item.platform and (item.platform.os, item.platform.architecture) == ("linux", "amd64"):
            return item
    raise BundleError(
        f"{ref.host}/{ref.repository}:{ref.reference} has no linux/amd64 image",
        details=tuple(f"{item.platform.os}/{item.platform.architecture}" for item in manifests if item.platform),
        remedy="choose another image",
    )


def _embedded_type(data: bytes) -> str:
    """Some servers send a general content type; the document names its own."""
    with suppress(ValueError):
        document = json.loads(data)
        if isinstance(document, dict):
            return str(document.get("mediaType", MANIFEST))
    raise BundleError(
        "the registry's answer is not a manifest", details=(repr(data[:60]),), remedy="check the reference"
    )


@dataclass
class _ByteCounter:
    """Adds up what parallel fetches of one image have."""

    step: Step
    total: int
    _done: dict[str, int] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def of(self, digest: str) -> OnBytes:
        """What one fetch reports to."""

        def report(done: int, _total: int | None) -> None:
            with self._lock:
                self._done[digest] = done
                self.step.update(done=sum(self._done.values()), total=self.total)

        return report
