"""Puts images together from a root file system and needed files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field

from llmprov.bundle.builders.requirements import Requirement, program
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltImage, Source
from llmprov.bundle.layers import Compression, TarEntry, layer_from_tar, tar_layer
from llmprov.bundle.oci import ImageConfig, write_image

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ContainerSource(Source):
    """What all images have.

    Attributes:
        base: the needed root file system, an uncompressed tar; nothing below the files without it.
        entrypoint: the program that a container starts.
        cmd: its arguments unless the container gives others.
        env: environment, besides PATH.
        user: `uid:gid`; root when empty.
        workdir: working directory.
    """

    base: str | None = None
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = Field(default_factory=dict)
    user: str = ""
    workdir: str = ""


class ImageSource(ContainerSource):
    """An image of needed artifacts.

    Attributes:
        files: needed files by their path in the image; all are programs, mode 0755.
        data: needed files that are no programs, mode 0444.
    """

    optional: ClassVar[frozenset[str]] = frozenset({"data"})

    type: Literal["image"] = "image"
    files: Mapping[str, str] = Field(default_factory=dict)
    data: Mapping[str, str] = Field(default_factory=dict)

    def describe(self) -> str:
        """Say what it is made of."""
        return "image of " + ", ".join(
            [*((self.base,) if self.base else ()), *self.files.values(), *self.data.values()]
        )


@dataclass(frozen=True)
class ImageBuilder:
    """Writes images; one layer for the root file system, which images share, and one for the programs."""

    source_model: type[Source] = field(default=ImageSource)
    compression: Compression = "zstd"

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:  # noqa: ARG002 - the protocol's names
        """The compressor."""
        return (program("zstd", "compresses image layers"),)

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's names
        """The way of building."""
        return {"revision": "1", "compression": self.compression}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Write the layers and the configuration."""
        source = spec.source_as(ImageSource)
        layers = []
        if source.base:
            context.step.update("root file system")
            layers.append(layer_from_tar(context.store, context.file(source.base), compression=self.compression))
        context.step.update("programs")
        entries = [TarEntry(path, source=context.file(name), mode=0o755) for path, name in source.files.items()]
        entries += [TarEntry(path, source=context.file(name), mode=0o444) for path, name in source.data.items()]
        if entries:
            layers.append(tar_layer(context.store, entries, compression=self.compression))
        return BuiltImage(write_image(context.store, layers, image_config(source)))


def image_config(source: ContainerSource) -> ImageConfig:
    """The configuration of an image; PATH is always set, since static pods name their programs without a directory."""
    return ImageConfig(
        entrypoint=source.entrypoint,
        cmd=source.cmd,
        env={"PATH": PATH, **source.env},
        user=source.user,
        workdir=source.workdir,
    )
