"""Builds the artifacts of a catalog: from the recipe cache where it can, in parallel where it must."""

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Self

from llmprov.bundle.builders import check_requirements
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, BuilderRegistry, Built
from llmprov.bundle.catalog_file import Catalog
from llmprov.bundle.command import DISK_FULL
from llmprov.bundle.download import UnavailableError
from llmprov.bundle.graph import Outcome, run_graph
from llmprov.bundle.recipes import RecipeCache, recipe_key
from llmprov.bundle.store import BlobStore
from llmprov.bundle.units import size
from llmprov.errors import BundleError
from llmprov.progress import NullProgress, Progress


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact of a bundle: its spec, the catalog it came from, what it was built to, and out of what."""

    spec: ArtifactSpec
    catalog: str
    built: Built
    source: str

    @classmethod
    def of(cls, catalog: Catalog, name: str, built: Built) -> Self:
        """The artifact of that name."""
        return cls(catalog.by_name[name], catalog.name, built, provenance(catalog, name))


@dataclass(frozen=True)
class Workshop:
    """Everything that builds share.

    Args:
        cache: the cache directory: blobs, recipes and logs are below it.
        builders: by source type.
        progress: one step per artifact that is really built.
        jobs: artifacts built at once.
    """

    cache: Path
    builders: BuilderRegistry
    progress: Progress = field(default_factory=NullProgress)
    jobs: int = field(default_factory=lambda: max(2, min(4, os.cpu_count() or 2)))
    cancelled: Event = field(default_factory=Event)

    @property
    def store(self) -> BlobStore:
        """Where blobs are."""
        return BlobStore(self.cache / "blobs")

    @property
    def recipes(self) -> RecipeCache:
        """What was built before."""
        return RecipeCache(self.cache / "recipes", self.store)


def build_artifacts(workshop: Workshop, catalog: Catalog, names: tuple[str, ...]) -> tuple[Artifact, ...]:
    """Build these artifacts of a catalog and what they need.

    Raises:
        BundleError: some could not be built; the details name each with its reason. What was built stays cached.
    """
    outcome = run(workshop, catalog, names)
    raise_failures(outcome)
    return tuple(Artifact.of(catalog, name, outcome.done[name]) for name in names)


def provenance(catalog: Catalog, name: str) -> str:
    """Where an artifact comes from, through everything it is built from: `image of p (p: go:k8s.io/kubernetes)`."""
    spec = catalog.by_name[name]
    needs = [f"{need}: {provenance(catalog, need)}" for need in spec.needs]
    return f"{spec.source.describe()} ({'; '.join(needs)})" if needs else spec.source.describe()


def run(workshop: Workshop, catalog: Catalog, names: tuple[str, ...]) -> Outcome[Built]:
    """Build artifacts and what they need, and report successes and failures alike."""
    needs = {name: catalog.by_name[name].needs for name in closure(catalog, names)}
    check_requirements((catalog.by_name[n] for n in needs if cached(workshop, catalog, n) is None), workshop.builders)

    def work(name: str, done: Mapping[str, Built]) -> Built:
        spec = catalog.by_name[name]
        return _build_one(workshop, catalog, spec, {need: done[need] for need in spec.needs})

    return run_graph(needs, work, jobs=workshop.jobs, cancelled=workshop.cancelled)


def cached(workshop: Workshop, catalog: Catalog, name: str) -> Built | None:
    """What an artifact was built to before, without building anything."""
    spec = catalog.by_name[name]
    needs = {need: cached(workshop, catalog, need) for need in spec.needs}
    found = {need: built for need, built in needs.items() if built is not None}
    if len(found) < len(needs):
        return None
    return workshop.recipes.get(_key(workshop, spec, found))


def closure(catalog: Catalog, names: tuple[str, ...]) -> tuple[str, ...]:
    """These names and everything they need, in a stable order."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting += catalog.by_name[name].needs
    return tuple(found)


def raise_failures(outcome: Outcome[Built]) -> None:
    """Raise one error that names every artifact that failed."""
    if not outcome.failed:
        return
    if len(outcome.failed) == 1 and not outcome.skipped:
        name, only = next(iter(outcome.failed.items()))
        raise type(only)(f"{name}: {only.message}", remedy=only.remedy, details=only.details)
    lines = []
    for name, error in sorted(outcome.failed.items()):
        lines += [f"{name}: {error.message}", *(f"  {line}" for line in error.details)]
    lines += [f"{name}: not built, it needs {blocker}" for name, blocker in sorted(outcome.skipped.items())]
    remedies = dict.fromkeys(error.remedy for _, error in sorted(outcome.failed.items()) if error.remedy)
    raise BundleError(
        f"{len(outcome.failed)} artifacts could not be built", remedy="; ".join(remedies), details=tuple(lines)
    )


def _build_one(workshop: Workshop, catalog: Catalog, spec: ArtifactSpec, needs: Mapping[str, Built]) -> Built:
    key = _key(workshop, spec, needs)
    if (known := workshop.recipes.get(key)) is not None:
        return known
    log = workshop.cache / "logs" / f"{catalog.name}-{spec.name}.log"
    log.unlink(missing_ok=True)
    try:
        with (
            workshop.store.directory() as workdir,
            workshop.progress.step(spec.name, spec.source.describe()) as step,
        ):
            context = BuildContext(
                store=workshop.store,
                workdir=workdir,
                step=step,
                progress=workshop.progress,
                versions=catalog.versions,
                needs=needs,
                log=log,
                cancelled=workshop.cancelled,
            )
            built = workshop.builders.builder(spec).build(spec, context)
        workshop.recipes.put(key, built)
    except OSError as error:
        raise disk_error(error, workshop.cache) from error
    return built


def _key(workshop: Workshop, spec: ArtifactSpec, needs: Mapping[str, Built]) -> str:
    return recipe_key(spec, workshop.builders.builder(spec).inputs(spec), needs)


def disk_error(error: OSError, directory: Path) -> BundleError:
    """Say what a failed read or write means to the user."""
    where = error.filename or directory
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        free = shutil.disk_usage(directory).free
        return BundleError(
            f"the disk that holds {directory} is full ({size(free)} free)",
            remedy=DISK_FULL,
        )
    return BundleError(f"{where}: {error.strerror or error}", remedy="check the path, its permissions and its disk")


def unavailable(outcome: Outcome[Built]) -> dict[str, str]:
    """Names that another catalog may still give, with the reason: those unavailable, and those needing them."""
    gone = {name: error.message for name, error in outcome.failed.items() if isinstance(error, UnavailableError)}
    return gone | {name: f"it needs {b}: {gone[b]}" for name, b in outcome.skipped.items() if b in gone}
