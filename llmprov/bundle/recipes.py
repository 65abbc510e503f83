"""The recipe cache: what a spec was built to, so that a warm build only looks up digests."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from llmprov.bundle.catalog import ArtifactSpec, Built, BuiltDebs, BuiltFile, BuiltImage
from llmprov.bundle.oci import contents, parse_manifest, write_whole
from llmprov.bundle.store import Blob, BlobStore
from llmprov.errors import BundleError

# Raised when the meaning of a recipe changes for all builders.
_REVISION = "1"
# What says nothing about the bytes.
_INERT = {"licence", "ref", "intermediate", "controller", "optional", "needs"}

_BUILT: TypeAdapter[Built] = TypeAdapter(Built)


def recipe_key(spec: ArtifactSpec, inputs: Mapping[str, str], needs: Mapping[str, Built]) -> str:
    """The hash of everything that decides an artifact: its spec, the builder's inputs and what it is built from."""
    fields = {name: type(spec.source).model_fields[name] for name in spec.source.optional}
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    unset = {name for name, default in defaults.items() if getattr(spec.source, name) == default}
    document = {
        "revision": _REVISION,
        "spec": spec.model_dump(mode="json", exclude={**dict.fromkeys(_INERT, True), "source": unset}),
        "inputs": dict(inputs),
        "needs": {name: digests(built) for name, built in needs.items()},
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def digests(built: Built) -> list[str]:
    """The digests that stand for a result."""
    match built:
        case BuiltFile(blob):
            return [blob.sha256]
        case BuiltImage(descriptor):
            return [descriptor.digest]
        case BuiltDebs(debs):
            return sorted(deb.blob.sha256 for deb in debs)


def blobs_of(built: Built, store: BlobStore) -> Iterator[Blob]:
    """Every blob of a result; an image's manifest must be in the store."""
    match built:
        case BuiltFile(blob):
            yield blob
        case BuiltImage(descriptor):
            data = store.path(descriptor.digest).read_bytes()
            yield from (part.blob for part in contents(descriptor, parse_manifest(data, descriptor.digest)))
        case BuiltDebs(debs):
            yield from (deb.blob for deb in debs)


@dataclass(frozen=True)
class RecipeCache:
    """Results by recipe key, one small file each."""

    directory: Path
    store: BlobStore

    def get(self, key: str) -> Built | None:
        """The result of a recipe whose every blob is still in the store, or None."""
        try:
            built = _BUILT.validate_json((self.directory / f"{key}.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return built if self._complete(built) else None

    def put(self, key: str, built: Built) -> None:
        """Remember a result."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_whole(self.directory / f"{key}.json", _BUILT.dump_json(built, by_alias=True))

    def _complete(self, built: Built) -> bool:
        if isinstance(built, BuiltImage):
            return image_is_stored(built.descriptor.digest, self.store)
        return all(self.store.has(blob.sha256, blob.size) for blob in blobs_of(built, self.store))


def image_is_stored(digest: str, store: BlobStore) -> bool:
    """Tell whether an image is in the store with all its blobs."""
    if not store.has(digest):
        return False
    try:
        manifest = parse_manifest(store.path(digest).read_bytes(), digest)
    except BundleError:
        return False
    return all(store.has(part.digest, part.size) for part in (manifest.config, *manifest.layers))
