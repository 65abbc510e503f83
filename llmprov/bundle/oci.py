"""OCI images and layouts: descriptors, image configuration, manifests, and the index of a layout directory."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmprov.bundle.layers import MEDIA_TYPES, Compression, Layer, TarEntry, layer_from_tar, tar_layer
from llmprov.bundle.store import Blob, BlobStore, plain_digest
from llmprov.errors import BundleError

__all__ = [
    "MEDIA_TYPES",
    "Compression",
    "Descriptor",
    "ImageConfig",
    "Index",
    "Layer",
    "Manifest",
    "TarEntry",
    "layer_from_tar",
    "parse_manifest",
    "read_index",
    "tar_layer",
    "write_artifact",
    "write_image",
    "write_index",
]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = frozenset({MANIFEST, DOCKER_MANIFEST})
INDEX_TYPES = frozenset({INDEX, DOCKER_LIST})

REF_NAME = "org.opencontainers.image.ref.name"
TITLE = "org.opencontainers.image.title"

_LAYOUT = {"imageLayoutVersion": "1.0.0"}


class _Wire(BaseModel):
    """A document of the OCI image specification; fields we do not use are kept by keeping the bytes."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")


class Platform(_Wire):
    """What an image of a multi-platform index runs on."""

    os: str = ""
    architecture: str = ""


class Descriptor(_Wire):
    """A reference to a blob: media type, digest (`sha256:<hex>`) and size in bytes."""

    media_type: str = Field(alias="mediaType")
    digest: str
    size: int
    annotations: Mapping[str, str] = Field(default_factory=dict)
    platform: Platform | None = None

    @property
    def blob(self) -> Blob:
        """The same, for the store."""
        return Blob(plain_digest(self.digest), self.size)

    def named(self, ref: str) -> "Descriptor":
        """The same blob under an image reference."""
        return self.model_copy(update={"annotations": {REF_NAME: ref}})

    @property
    def ref(self) -> str | None:
        """The image reference that a layout index knows this blob by."""
        return self.annotations.get(REF_NAME)


class Manifest(_Wire):
    """An image or artifact manifest."""

    media_type: str = Field(default=MANIFEST, alias="mediaType")
    config: Descriptor
    layers: tuple[Descriptor, ...] = ()


class Index(_Wire):
    """A multi-platform index, or the index of a layout."""

    manifests: tuple[Descriptor, ...] = ()


@dataclass(frozen=True)
class ImageConfig:
    """How a container of an image starts."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def describe(blob: Blob, media_type: str, annotations: Mapping[str, str] | None = None) -> Descriptor:
    """A descriptor of a stored blob."""
    return Descriptor(
        media_type=media_type, digest=f"sha256:{blob.sha256}", size=blob.size, annotations=annotations or {}
    )


def write_image(store: BlobStore, layers: Sequence[Layer], config: ImageConfig | None = None) -> Descriptor:
    """Write the configuration and manifest of a linux/amd64 image; the same layers and config give the same digest."""
    document = {
        "created": "1970-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": _config_section(config or ImageConfig()),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    config_blob = store.put_bytes(_canonical(document))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _wire(describe(config_blob, CONFIG)),
        "layers": [_wire(describe(layer.blob, layer.media_type)) for layer in layers],
    }
    return describe(store.put_bytes(_canonical(manifest)), MANIFEST)


def write_artifact(store: BlobStore, artifact_type: str, members: Sequence[Descriptor]) -> Descriptor:
    """Write a manifest that holds plain files as its layers, so that a registry keeps and serves them."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": _wire(describe(store.put_bytes(b"{}"), EMPTY)),
        "layers": [_wire(member) for member in members],
    }
    return describe(store.put_bytes(_canonical(manifest)), MANIFEST)


def parse_manifest(data: bytes, what: str) -> Manifest:
    """Read a manifest; `what` names it in the error."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise BundleError(
            f"{what} is not an OCI manifest", remedy="llmprov bundle verify", details=(_first_line(error),)
        ) from error


def contents(descriptor: Descriptor, manifest: Manifest) -> Iterator[Descriptor]:
    """Everything an image consists of, each blob once: manifest, configuration, layers."""
    seen: set[str] = set()
    for part in (descriptor, manifest.config, *manifest.layers):
        if part.digest not in seen:
            seen.add(part.digest)
            yield part


def read_index(layout: Path) -> Index:
    """Read the index of a layout directory."""
    path = layout / "index.json"
    try:
        return Index.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{layout} is not a bundle: it has no index.json", remedy="llmprov bundle build") from error
    except ValidationError as error:
        raise BundleError(
            f"{path} is not an OCI index", remedy="llmprov bundle build", details=(_first_line(error),)
        ) from error


def write_index(layout: Path, manifests: Sequence[Descriptor]) -> None:
    """Make a directory a layout with these manifests; readers see the old index or the new one."""
    layout.mkdir(parents=True, exist_ok=True)
    write_whole(layout / "oci-layout", _canonical(_LAYOUT))
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [_wire(item) for item in manifests]}
    write_whole(layout / "index.json", _canonical(document))


def write_whole(path: Path, data: bytes) -> None:
    """Replace a small file in one step; one with this content stays untouched, and counts as unchanged elsewhere."""
    if path.is_file() and path.read_bytes() == data:
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)


def digest_of(data: bytes) -> str:
    """The digest of bytes in memory, with its algorithm."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _config_section(config: ImageConfig) -> dict[str, object]:
    section: dict[str, object] = {
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "Env": [f"{name}={value}" for name, value in sorted(config.env.items())],
        "User": config.user,
        "WorkingDir": config.workdir,
        "Labels": dict(sorted(config.labels.items())),
    }
    return {key: value for key, value in section.items() if value}


def _wire(descriptor: Descriptor) -> dict[str, object]:
    return descriptor.model_dump(by_alias=True, exclude_defaults=True)


def _canonical(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'document'}: {first['msg']}"
