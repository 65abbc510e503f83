"""What a bundle is made of and how builders plug in: artifact specs, sources, builders, and what a build yields.

A catalog lists `ArtifactSpec`s. The `type` of a spec's source picks the builder. A builder is any object with the
shape of `Builder`; `BuilderRegistry` collects them, so neither catalogs nor this module know the builders.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Annotated, ClassVar, Literal, Protocol, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from llmprov.bundle.command import run_logged
from llmprov.bundle.oci import Descriptor
from llmprov.bundle.store import Blob, BlobStore
from llmprov.errors import BundleError
from llmprov.progress import NullProgress, NullStep, Progress, Step

Kind = Literal["file", "image", "debs"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.+-]*$")]


# The reference becomes a repository of the cluster's registry, whose names allow no port.
_REF = re.compile(r"^[a-z0-9-]+(\.[a-z0-9-]+)+(/[a-z0-9]+([._-]+[a-z0-9]+)*)+:\w[\w.-]*$")


class Source(BaseModel):
    """Where an artifact comes from. Every builder derives its own, with `type: Literal["..."] = "..."`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    optional: ClassVar[frozenset[str]] = frozenset()
    """Attributes that are part of the recipe only when they are set: one more of them leaves cached artifacts valid."""

    type: str

    def describe(self) -> str:
        """One line for the lock and `bundle list`: a URL, `go:module@version`, `pypi:name==version`."""
        return self.type


class ArtifactSpec(BaseModel):
    """One artifact of a catalog.

    Attributes:
        name: unique in the catalog; roles ask for files and images by it.
        kind: `file` (one blob), `image` (a manifest) or `debs` (the packages of one Debian suite).
        version: as upstream writes it, without a leading v.
        licence: SPDX expression.
        source: decides the builder.
        ref: images only: the reference hosts pull it by.
        suite: debs only: the Debian suite.
        needs: names of artifacts of the same catalog that are built first.
        intermediate: built for others only; not part of the bundle.
        controller: files only: for the controller alone; part of the bundle, but no host gets it.
        optional: clusters work without it, and it may be out of reach: the `auto` choice leaves it out then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    kind: Kind
    version: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    source: SerializeAsAny[Source]
    ref: str | None = None
    suite: str | None = None
    needs: tuple[str, ...] = ()
    intermediate: bool = False
    controller: bool = False
    optional: bool = False

    @field_validator("source", mode="before")
    @classmethod
    def _by_type(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, Mapping):
            return value
        registry = cast("BuilderRegistry", (info.context or {}).get("builders", BuilderRegistry()))
        return registry.source_model(str(value.get("type"))).model_validate(value)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "image" and not _REF.match(self.ref or ""):
            raise ValueError(f"image {self.name} has ref {self.ref!r}: write host/repository:tag")
        if self.kind == "debs" and not self.suite:
            raise ValueError(f"debs {self.name} has no suite")
        return self

    def source_as[S: Source](self, model: type[S]) -> S:
        """The source as the builder's own model."""
        if not isinstance(self.source, model):
            raise BundleError(f"{self.name}: source type {self.source.type!r} came to the builder of {model.__name__}")
        return self.source


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A single file."""

    blob: Blob


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image whose manifest, configuration and layers are all in the store."""

    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class Deb:
    """One Debian package: `filename` is the archive's own, such as `nftables_1.1.3-1_amd64.deb`."""

    package: str
    version: str
    filename: str
    licence: str
    blob: Blob


@dataclass(frozen=True, slots=True)
class BuiltDebs:
    """The packages of one suite, dependencies included, in any order."""

    debs: tuple[Deb, ...]


Built = BuiltFile | BuiltImage | BuiltDebs


@dataclass(frozen=True)
class BuildContext:
    """What a builder may use.

    Attributes:
        store: takes the results; digests of needed artifacts are in it.
        workdir: an empty directory for this artifact alone, on the store's file system; removed afterwards.
        step: this artifact's line in the progress display.
        progress: for notes; the step is already open.
        versions: the catalog's `versions`.
        needs: what the artifacts named in `needs` were built to.
        log: where `run` writes what programs say.
        cancelled: set when the user interrupts.
    """

    store: BlobStore
    workdir: Path
    step: Step = field(default_factory=NullStep)
    progress: Progress = field(default_factory=NullProgress)
    versions: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, Built] = field(default_factory=dict)
    log: Path | None = None
    cancelled: Event = field(default_factory=Event)

    @property
    def wheels(self) -> Path:
        """Where Python wheels are kept from one build to the next."""
        return self.store.root.with_name("wheels")

    def file(self, name: str) -> Path:
        """The stored file of a needed artifact (read-only, mode 0444: give it its mode in the image)."""
        built = self.needs.get(name)
        if not isinstance(built, BuiltFile):
            raise BundleError(f"{name!r} is not a file among the needed artifacts", remedy=f"add needs: [{name}]")
        return self.store.path(built.blob.sha256)

    def image(self, name: str) -> Descriptor:
        """The manifest of a needed image."""
        built = self.needs.get(name)
        if not isinstance(built, BuiltImage):
            raise BundleError(f"{name!r} is not an image among the needed artifacts", remedy=f"add needs: [{name}]")
        return built.descriptor

    def run(self, argv: list[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a program; its output goes to the artifact's log, and is returned.

        Args:
            argv: the program and its arguments.
            cwd: by default `workdir`.
            env: added to the environment.

        Raises:
            BundleError: the program is missing or fails; the last lines of its output are the details.
        """
        return run_logged(argv, cwd=cwd or self.workdir, env=env or {}, log=self.log)


class Builder(Protocol):
    """Builds the artifacts of one source type."""

    @property
    def source_model(self) -> type[Source]:
        """The model of the sources it takes; its `type` default is the name."""
        ...

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:
        """What else changes the result: the builder's own revision, tool versions, hashes of data files. Cheap."""
        ...

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Make the artifact and put it into the store."""
        ...


class BuilderRegistry:
    """Builders by source type."""

    def __init__(self, builders: Iterable[Builder] = ()) -> None:
        self._builders = {_type_name(builder.source_model): builder for builder in builders}

    def source_model(self, type_name: str) -> type[Source]:
        """The model of a source type."""
        return self._get(type_name).source_model

    def builder(self, spec: ArtifactSpec) -> Builder:
        """The builder of a spec."""
        return self._get(spec.source.type)

    def _get(self, type_name: str) -> Builder:
        if type_name not in self._builders:
            raise ValueError(f"unknown source type {type_name!r}; known: {', '.join(sorted(self._builders))}")
        return self._builders[type_name]


def _type_name(model: type[Source]) -> str:
    return str(model.model_fields["type"].default)
