"""Puts built artifacts together: one OCI layout directory with its lock, in place or onto another disk."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llmprov.bundle.build import Artifact, disk_error
from llmprov.bundle.catalog import BuiltDebs, BuiltFile, BuiltImage
from llmprov.bundle.lock import CONTROLLER_REF, FILES_REF, BundleLock, LockedArtifact
from llmprov.bundle.oci import TITLE, Descriptor, contents, describe, parse_manifest, write_artifact, write_index
from llmprov.bundle.recipes import blobs_of
from llmprov.bundle.store import Blob, BlobStore, distrust, is_stamped, sha256_of, stamp
from llmprov.bundle.units import size
from llmprov.errors import BundleError
from llmprov.progress import Progress

_FILES_TYPE = "application/vnd.llmprov.files.v1"
_FILE_TYPE = "application/vnd.llmprov.file.v1"


@dataclass(frozen=True)
class BuildResult:
    """A finished bundle, and how long it took."""

    directory: Path
    lock: BundleLock
    seconds: float


def locked(artifact: Artifact, store: BlobStore) -> Iterator[LockedArtifact]:
    """The lock's lines for an artifact: one, or one per package."""
    spec, built = artifact.spec, artifact.built
    common = {"source": artifact.source, "catalog": artifact.catalog}
    identity = {"name": spec.name, "version": spec.version, "licence": spec.licence, **common}
    match built:
        case BuiltFile(blob):
            yield LockedArtifact(
                kind="file", sha256=blob.sha256, size=blob.size, controller=spec.controller, **identity
            )
        case BuiltImage(descriptor):
            size = sum(blob.size for blob in blobs_of(built, store))
            yield LockedArtifact(kind="image", sha256=descriptor.blob.sha256, size=size, ref=spec.ref, **identity)
        case BuiltDebs(debs):
            for deb in debs:
                yield LockedArtifact(
                    kind="deb",
                    name=deb.package,
                    version=deb.version,
                    licence=deb.licence,
                    sha256=deb.blob.sha256,
                    size=deb.blob.size,
                    suite=spec.suite,
                    package=deb.package,
                    filename=deb.filename,
                    **common,
                )


def assemble(
    store: BlobStore, output: Path, catalog: str, artifacts: Iterable[LockedArtifact], progress: Progress
) -> BundleLock:
    """Write the bundle: blobs first, then index and lock, then what no longer belongs is removed.

    A reader, and a build that is killed, see the old bundle or the new one.
    """
    lock = BundleLock.of(catalog, artifacts)
    try:
        index = [*_files_artifacts(store, lock), *_images(store, lock)]
        blobs = {blob.sha256: blob for item in index for blob in _blobs(store, item)}
        with progress.step("bundle", str(output)) as step:
            (output / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            missing = [blob for blob in blobs.values() if not _in_place(output, blob)]
            _check_space(store, output, missing)
            for number, blob in enumerate(missing, start=1):
                step.update(done=number, total=len(missing))
                store.link_into(blob.sha256, output / "blobs" / "sha256" / blob.sha256)
            write_index(output, index)
            lock.save(output)
            _prune(output, set(blobs))
    except OSError as error:
        raise disk_error(error, output) from error
    return BundleLock.load(output)


def _files_artifacts(store: BlobStore, lock: BundleLock) -> Iterator[Descriptor]:
    """Yield the artifact of what hosts get, and the one of what stays on the controller."""
    files = [item for item in lock.artifacts if item.kind != "image"]
    yield _files_artifact(store, [item for item in files if not item.controller]).named(FILES_REF)
    if any(item.controller for item in files):
        yield _files_artifact(store, [item for item in files if item.controller]).named(CONTROLLER_REF)


def _files_artifact(store: BlobStore, files: Iterable[LockedArtifact]) -> Descriptor:
    members: dict[str, Descriptor] = {}
    for item in files:
        title = {TITLE: item.filename or item.name}
        members.setdefault(item.sha256, describe(Blob(item.sha256, item.size), _FILE_TYPE, title))
    return write_artifact(store, _FILES_TYPE, list(members.values()))


def _images(store: BlobStore, lock: BundleLock) -> Iterator[Descriptor]:
    for item in lock.images:
        data = store.path(item.sha256).read_bytes()
        media_type = parse_manifest(data, item.name).media_type
        yield describe(Blob(item.sha256, len(data)), media_type).named(item.ref or item.name)


def _blobs(store: BlobStore, descriptor: Descriptor) -> Iterator[Blob]:
    manifest = parse_manifest(store.path(descriptor.digest).read_bytes(), descriptor.ref or descriptor.digest)
    return (part.blob for part in contents(descriptor, manifest))


def _in_place(output: Path, blob: Blob) -> bool:
    """Tell whether the bundle has a blob already; one that came by plain copy is hashed once and then trusted."""
    path = output / "blobs" / "sha256" / blob.sha256
    if not path.exists() or path.stat().st_size != blob.size:
        return False
    if is_stamped(path):
        return True
    if sha256_of(path).sha256 != blob.sha256:
        distrust(path)
        return False
    stamp(path)
    return True


def _check_space(store: BlobStore, output: Path, missing: list[Blob]) -> None:
    if store.root.stat().st_dev == output.stat().st_dev:
        return
    needed, free = sum(blob.size for blob in missing), shutil.disk_usage(output).free
    if needed > free:
        raise BundleError(
            f"{output} needs {size(needed)} more, its disk has {size(free)} free",
            remedy="free some space there, or choose another --output",
        )


def _prune(output: Path, keep: set[str]) -> None:
    for path in (output / "blobs" / "sha256").iterdir():
        if path.name not in keep:
            path.unlink()
