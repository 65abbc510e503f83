"""Bundles: build one, list it, check it, bring it to a cluster."""

import difflib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

from llmprov import inventory, paths
from llmprov.bundle.assemble import BuildResult, assemble, locked
from llmprov.bundle.auto import build_auto
from llmprov.bundle.build import Artifact, Workshop, build_artifacts, disk_error
from llmprov.bundle.builders import REGISTRIES_BUILDERS
from llmprov.bundle.catalog import BuilderRegistry
from llmprov.bundle.catalog_file import Catalog, catalog_path, load_catalog
from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.bundle.push import PushReport, Selection, push_bundle
from llmprov.bundle.recipes import image_is_stored
from llmprov.bundle.store import BlobStore
from llmprov.bundle.turns import build_turn
from llmprov.bundle.upstream import UPSTREAM_BUILDERS
from llmprov.bundle.verify import Report, verify_bundle
from llmprov.errors import BundleError
from llmprov.progress import Progress
from llmprov.workflows.push_job import PushJob

CatalogName = Literal["auto", "upstream", "registries"]


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Args:
        catalog: which catalog, or `auto`; None means the one of the bundle that is there, else `auto`.
        output: the bundle directory.
        only: artifacts to build; the bundle's others stay as they are. Empty means all.
        jobs: artifacts built at once; None leaves it to the number of cores.
    """

    catalog: CatalogName | None
    output: Path
    only: tuple[str, ...] = ()
    jobs: int | None = None


def default_directory() -> Path:
    """Where the bundle is unless told otherwise."""
    return paths.cache_dir() / "bundle"


def build(request: BuildRequest, progress: Progress) -> BuildResult:
    """Build a bundle, or bring an existing one up to date; what was built before is looked up."""
    started = time.monotonic()
    workshop = _workshop(request, progress)
    output = request.output.absolute()
    try:
        with build_turn(workshop.cache, progress):
            workshop.store.sweep()
            old = _present(output)
            catalog = request.catalog or _catalog_of(old)
            artifacts = _artifacts(catalog, request.only, workshop)
            lines = [line for artifact in artifacts for line in locked(artifact, workshop.store)]
            if request.only and old is not None:
                lines += _kept(old, artifacts, workshop.store)
                catalog = _catalog_of(old)
            lock = assemble(workshop.store, output, catalog, lines, progress)
    except OSError as error:
        raise disk_error(error, workshop.cache) from error
    return BuildResult(output, lock, time.monotonic() - started)


def verify(directory: Path, progress: Progress) -> Report:
    """Check a bundle directory."""
    return verify_bundle(directory, progress)


def push_to_url(directory: Path, url: str, selection: Selection, progress: Progress) -> PushReport:
    """Push to a registry that this machine reaches by HTTP."""
    return push_bundle(directory, url, selection, progress)


def push_to_inventory(path: Path, directory: Path | None, selection: Selection, progress: Progress) -> PushReport:
    """Push to the cluster's registry, through SSH to the first control plane."""
    job = PushJob.to_cluster(inventory.load(path), selection)
    return (replace(job, bundle=directory) if directory else job).run(progress)


def _workshop(request: BuildRequest, progress: Progress) -> Workshop:
    builders = BuilderRegistry((*UPSTREAM_BUILDERS, *REGISTRIES_BUILDERS))
    workshop = Workshop(paths.cache_dir(), builders, progress)
    return workshop if request.jobs is None else Workshop(workshop.cache, builders, progress, jobs=request.jobs)


def _present(output: Path) -> BundleLock | None:
    try:
        return BundleLock.load(output)
    except BundleError:
        return None  # there is none, or it is damaged: it is built anew


def _catalog_of(lock: BundleLock | None) -> CatalogName:
    known = lock.catalog if lock is not None else ""
    return cast("CatalogName", known) if known in get_args(CatalogName) else "auto"


def _artifacts(catalog: CatalogName, only: tuple[str, ...], workshop: Workshop) -> tuple[Artifact, ...]:
    names: tuple[CatalogName, ...] = ("upstream", "registries") if catalog == "auto" else (catalog,)
    catalogs = [load_catalog(catalog_path(name), workshop.builders) for name in names]
    wanted = _wanted(catalog, only, catalogs)
    if len(catalogs) == 1:
        return build_artifacts(workshop, catalogs[0], wanted)
    return build_auto(workshop, catalogs[0], catalogs[1], wanted)


def _wanted(name: CatalogName, only: tuple[str, ...], catalogs: list[Catalog]) -> tuple[str, ...]:
    offered = dict.fromkeys(spec.name for catalog in catalogs for spec in catalog.artifacts if not spec.intermediate)
    unknown = [item for item in only if item not in offered]
    if not unknown:
        return only or tuple(offered)
    close = {item: difflib.get_close_matches(item, offered, n=1) for item in unknown}
    raise BundleError(
        f"the {name} catalog has no {', '.join(unknown)}",
        remedy="choose among the names below",
        details=(*(f"did you mean {near[0]}?" for near in close.values() if near), ", ".join(sorted(offered))),
    )


def _kept(old: BundleLock, artifacts: tuple[Artifact, ...], store: BlobStore) -> list[LockedArtifact]:
    """What a partial build leaves as it was."""
    names = {artifact.spec.name for artifact in artifacts}
    suites = {artifact.spec.suite for artifact in artifacts if artifact.spec.suite}
    others = [item for item in old.artifacts if (item.suite not in suites if item.suite else item.name not in names)]
    return [item for item in others if _stored(item, store)]


def _stored(item: LockedArtifact, store: BlobStore) -> bool:
    return image_is_stored(item.digest, store) if item.kind == "image" else store.has(item.sha256, item.size)
