"""The exact image references that pods name: by digest, so that what is pulled ahead is what is run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llmprov import ssh
from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.bundle.registry_ref import ImageRef
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError, ModelError
from llmprov.inventory import Inventory, ModelSpec
from llmprov.manifests import parsed
from llmprov.manifests.addon import Objects
from llmprov.workflows.push_job import push_port
from llmprov.workflows.registry import Registry


@dataclass(frozen=True, slots=True)
class ModelImages:
    """What one model's pods pull."""

    model: str
    engine: str
    weights: str


def model_images(inventory: Inventory, lock: BundleLock) -> tuple[ModelImages, ...]:
    """Pin the images of every model by digest.

    Images of the bundle are looked up in its lock. Others must be in the cluster's registry, which is asked over SSH.

    Raises:
        BundleError: the bundle has no such artifact.
        ModelError: the registry has no such image.
    """
    resolver = _Resolver(inventory, lock)
    return tuple(ModelImages(model.name, resolver.engine(model), resolver.weights(model)) for model in inventory.models)


def pinned(image: LockedArtifact) -> str:
    """Return the reference by digest alone: `docker.io/vllm/vllm-openai@sha256:…`."""
    if image.ref is None:
        raise BundleError(f"image {image.name} has no reference in the lock", remedy="llmprov bundle build")
    return with_digest(image.ref, image.digest)


def manifests_of(inventory: Inventory, lock: BundleLock, name: str) -> Objects:
    """Return the objects of one of the bundle's manifests files.

    Args:
        inventory: says where the bundle is.
        lock: of the bundle.
        name: of the file: `keda-manifests`.

    Raises:
        BundleError: the bundle has no such file, or it holds something else than Kubernetes objects.
    """
    return parsed.load(BlobStore(inventory.settings.bundle_dir / "blobs").path(lock.file(name).digest))


def with_digest(reference: str, digest: str) -> str:
    """Replace the tag of a reference by a digest."""
    parsed = ImageRef.parse(reference)
    return f"{parsed.host}/{parsed.repository}@{digest}"


@contextmanager
def open_registry(inventory: Inventory) -> Iterator[Registry]:
    """Open the writable side of the cluster's registry, through SSH to the first control plane."""
    host = inventory.host(inventory.settings.first_control_plane)
    with ssh.tunnel(host.ssh, "127.0.0.1", push_port(host)) as local, Registry(f"http://127.0.0.1:{local}") as registry:
        yield registry


class _Resolver:
    def __init__(self, inventory: Inventory, lock: BundleLock) -> None:
        self._inventory = inventory
        self._lock = lock

    def engine(self, model: ModelSpec) -> str:
        wanted = model.engine.image
        named = [image for image in self._lock.images if wanted in {image.name, image.ref}]
        if named:
            return pinned(named[0])
        # A bare word names an artifact of the bundle; the lock's own error lists what there is.
        return self._other(wanted, model) if "/" in wanted else pinned(self._lock.image(wanted))

    def weights(self, model: ModelSpec) -> str:
        if model.source.artifact is not None:
            return pinned(self._lock.image(model.source.artifact))
        wanted = str(model.source.image)
        named = [image for image in self._lock.images if image.ref == wanted]
        return pinned(named[0]) if named else self._other(wanted, model)

    def _other(self, reference: str, model: ModelSpec) -> str:
        parsed = ImageRef.parse(reference)
        if parsed.digest:
            return with_digest(reference, parsed.digest)
        with open_registry(self._inventory) as registry:
            digest = registry.digest(f"{parsed.host}/{parsed.repository}", str(parsed.tag))
        if digest is None:
            raise ModelError(
                f"model {model.name}: neither the bundle nor the cluster's registry has {reference}",
                remedy=f"push it: llmprov model push DIRECTORY {model.name} -i {self._inventory.path}",
            )
        return with_digest(reference, digest)
