"""Builders of the upstream catalog: official files by URL, archives put together from several, images by reference."""

import tarfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmprov.bundle.builders.requirements import Requirement, program
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltFile, BuiltImage, Source
from llmprov.bundle.download import Downloader
from llmprov.bundle.layers import TarEntry, tar_layer
from llmprov.bundle.oci import parse_manifest
from llmprov.bundle.registry_pull import pull_image
from llmprov.bundle.registry_ref import ImageRef
from llmprov.bundle.store import Blob
from llmprov.errors import BundleError

_SHA256 = r"^[0-9a-f]{64}$"
# What a Debian package starts with.
_PACKAGE = b"!<arch>\ndebian-binary"


class Download(BaseModel):
    """A file on the web, with what tells that it is the right one: its sha256, or the published checksum file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(pattern=r"^https?://")
    sha256: str | None = Field(default=None, pattern=_SHA256)
    checksum_url: str | None = Field(default=None, pattern=r"^https?://")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if not (self.sha256 or self.checksum_url):
            raise ValueError(f"{self.url}: give sha256 or checksum_url")
        return self

    @property
    def filename(self) -> str:
        """The last part of the URL."""
        return PurePosixPath(urlsplit(self.url).path).name


class UrlSource(Source):
    """A file by URL; `member` takes one file out of a tar archive."""

    type: Literal["url"] = "url"
    url: str
    sha256: str | None = None
    checksum_url: str | None = None
    member: str | None = None

    @model_validator(mode="after")
    def _checked(self) -> Self:
        _ = self.download
        return self

    @property
    def download(self) -> Download:
        """The file itself."""
        return Download(url=self.url, sha256=self.sha256, checksum_url=self.checksum_url)

    def describe(self) -> str:
        """Say the URL."""
        return f"{self.url}#{self.member}" if self.member else self.url


class ImageMember(BaseModel):
    """A file inside a needed image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    path: str


class ArchiveSource(Source):
    """A tar of regular files put together from other archives (tar or .deb) and from files in needed images."""

    type: Literal["archive"] = "archive"
    archives: tuple[Download, ...] = ()
    members: tuple[str, ...]
    images: tuple[ImageMember, ...] = ()

    def describe(self) -> str:
        """Say the URLs and images."""
        return " + ".join([*(item.url for item in self.archives), *(f"{i.image}:{i.path}" for i in self.images)])


class OciSource(Source):
    """An image by reference. Without a digest the tag is resolved once, and the lock keeps what it was."""

    type: Literal["oci"] = "oci"
    ref: str
    digest: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _parses(self) -> Self:
        _ = self.image
        return self

    @property
    def image(self) -> ImageRef:
        """The parsed reference."""
        try:
            return ImageRef.parse(f"{self.ref}@{self.digest}" if self.digest else self.ref)
        except BundleError as error:
            raise ValueError(error.message) from error

    def describe(self) -> str:
        """Say the reference."""
        return f"{self.ref}@{self.digest}" if self.digest else self.ref


@dataclass(frozen=True)
class UrlBuilder:
    """Fetches single files."""

    source_model: type[Source] = UrlSource

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's names
        """Nothing but the source decides the file."""
        return {}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Fetch the file, and take the member out of it when one is named."""
        source = spec.source_as(UrlSource)
        blob = _fetch(source.download, context)
        if source.member is None:
            return BuiltFile(blob)
        with _open_tar(context.store.path(blob.sha256), source.url) as archive:
            return BuiltFile(_extract(archive, source.member, source.url, context))


@dataclass(frozen=True)
class ArchiveBuilder:
    """Puts archives together."""

    source_model: type[Source] = ArchiveSource

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:
        """What opens Debian's packages, where there are some."""
        packages = any(item.filename.endswith(".deb") for item in spec.source_as(ArchiveSource).archives)
        return (program("dpkg-deb", "reads packages", "dpkg"),) if packages else ()

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's names
        """The layout of the tar."""
        return {"revision": "1"}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Fetch the archives, pick the members, write one tar; the same members always give the same bytes."""
        source = spec.source_as(ArchiveSource)
        found: dict[str, Path] = {}
        for item in source.archives:
            blob = _fetch(item, context)
            with _open_tar(_as_tar(context.store.path(blob.sha256), context), item.url) as archive:
                names = {PurePosixPath(name).name for name in archive.getnames()}
                for member in sorted(names & set(source.members) - set(found)):
                    found[member] = context.store.path(_extract(archive, member, item.url, context).sha256)
        for file in source.images:
            found[PurePosixPath(file.path).name] = _file_of_image(file, context)
        if missing := sorted(set(source.members) - set(found)):
            raise BundleError(
                f"{spec.name}: not found in its archives: {', '.join(missing)}", remedy="correct members in the catalog"
            )
        entries = [TarEntry(name, source=found[name], mode=0o755) for name in source.members]
        return BuiltFile(tar_layer(context.store, entries, compression="gzip").blob)


@dataclass(frozen=True)
class OciBuilder:
    """Pulls images."""

    source_model: type[Source] = OciSource

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's names
        """Nothing but the reference decides the image."""
        return {}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Pull the image for linux/amd64."""
        downloader = Downloader(context.store, context.cancelled)
        return BuiltImage(pull_image(spec.source_as(OciSource).image, downloader, context.step))


UPSTREAM_BUILDERS = (UrlBuilder(), ArchiveBuilder(), OciBuilder())


def _fetch(item: Download, context: BuildContext) -> Blob:
    downloader = Downloader(context.store, context.cancelled)
    expected = item.sha256
    if expected is None and item.checksum_url is not None:
        expected = downloader.checksum(item.checksum_url, item.filename)
    return downloader.fetch(
        item.url, sha256=expected, on_bytes=lambda done, total: context.step.update(done=done, total=total)
    )


def _as_tar(path: Path, context: BuildContext) -> Path:
    """A package's files as a tar; an archive that is none is returned as it is."""
    with path.open("rb") as file:
        if file.read(len(_PACKAGE)) != _PACKAGE:
            return path
    files = context.workdir / f"{path.name}.tar"
    context.run(["sh", "-c", 'dpkg-deb --fsys-tarfile "$1" > "$2"', "sh", str(path), str(files)])
    return files


def _open_tar(path: Path, where: str) -> tarfile.TarFile:
    try:
        return tarfile.open(path)
    except tarfile.TarError as error:
        raise BundleError(
            f"{where} is not a tar archive: {error}", remedy="remove member from the catalog entry"
        ) from error


def _extract(archive: tarfile.TarFile, member: str, where: str, context: BuildContext) -> Blob:
    """Store one regular file of an archive, found by its path or, failing that, by its last part."""
    files = [info for info in archive.getmembers() if info.isfile()]
    wanted = member.strip("/")
    matches = [i for i in files if i.name.removeprefix("./") == wanted] or [
        i for i in files if PurePosixPath(i.name).name == wanted
    ]
    content = archive.extractfile(matches[0]) if matches else None
    if content is None:
        raise BundleError(
            f"{where} has no file {member}",
            remedy="correct the member in the catalog",
            details=tuple(info.name for info in files[:20]),
        )
    with context.store.writer() as writer:
        while chunk := content.read(1 << 20):
            writer.write(chunk)
        return context.store.put_written(writer)


def _file_of_image(item: ImageMember, context: BuildContext) -> Path:
    """Store a file of an image: the last layer that has it wins."""
    descriptor = context.image(item.image)
    manifest = parse_manifest(context.store.path(descriptor.digest).read_bytes(), item.image)
    for layer in reversed(manifest.layers):
        with ExitStack() as stack:
            archive = stack.enter_context(_open_tar(context.store.path(layer.digest), item.image))
            if any(name.removeprefix("./").strip("/") == item.path.strip("/") for name in archive.getnames()):
                return context.store.path(_extract(archive, item.path, item.image, context).sha256)
    raise BundleError(f"image {item.image} has no file {item.path}", remedy="correct the path in the catalog")
