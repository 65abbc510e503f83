"""The engine image: locked Python packages on a Debian root file system, trimmed, compiled and cut into layers."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from llmprov.bundle.builders.bytecode import compile_packages
from llmprov.bundle.builders.imageroot import ImageRoot, unpack
from llmprov.bundle.builders.images import ContainerSource, image_config
from llmprov.bundle.builders.pypi import LockedSource, install, pip_requirement
from llmprov.bundle.builders.requirements import Requirement, program
from llmprov.bundle.builders.trim import forget_scripts, remove_matching, remove_unlinked
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltImage, Source
from llmprov.bundle.layers import Layer, TarEntry, layer_from_tar, tar_layer
from llmprov.bundle.oci import write_image

_REVISION = "1"
_CACHE = "usr/share/vllm-cache"
_CACHE_SCRIPT = Path(__file__).with_name("inside") / "model_classes.py"


class EngineSource(LockedSource, ContainerSource):
    """A vLLM image.

    Attributes:
        programs: scripts of the packages to keep; they go to /usr/local/bin.
        distributions: further names under which packages look themselves up, and the version to tell.
        remove: globs below dist-packages of what is not read at run time.
        unlinked_below: the directory whose libraries go unless a library outside links them.
        layers: members of dist-packages by layer, as globs; everything else is one more layer.
        model_classes: architectures whose properties vLLM finds in its cache instead of in another process.
    """

    type: Literal["python-engine"] = "python-engine"
    programs: tuple[str, ...]
    distributions: Mapping[str, str] = Field(default_factory=dict)
    remove: tuple[str, ...] = ()
    unlinked_below: str | None = None
    layers: tuple[tuple[str, ...], ...] = ()
    model_classes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say the lock file; the main package's version is the artifact's."""
        return f"pypi:{self.lock}"


@dataclass(frozen=True)
class EngineBuilder:
    """Builds engine images."""

    source_model: type[Source] = EngineSource

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:  # noqa: ARG002 - the protocol's names
        """Pip, the compressor, and what reads the links of libraries."""
        return (
            pip_requirement(),
            program("readelf", "finds libraries that nothing links", "binutils"),
            program("tar", "unpacks root file systems"),
            program("zstd", "compresses image layers"),
        )

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:
        """The lock file and the way of building."""
        return {
            "revision": _REVISION,
            "lock": spec.source_as(EngineSource).lock_digest,
            "model classes": hashlib.sha256(_CACHE_SCRIPT.read_bytes()).hexdigest(),
        }

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Unpack the root file system, install into it, trim, compile, and write the layers."""
        source = spec.source_as(EngineSource)
        base = context.file(source.base or "")
        root = ImageRoot(context.workdir / "root", source.python)
        unpack(context, base, root.path)
        install(context, source.lock_path, root.packages, source.python)
        programs = _programs(source, root)
        _trim(source, root, context)
        _add_distributions(source, root)
        compile_packages(context, root)
        cache = _model_classes(source, root, context)
        context.step.update("writing layers")
        layers = [layer_from_tar(context.store, base, compression="zstd")]
        layers += _layers(source, root, [*programs, *cache], context)
        return BuiltImage(write_image(context.store, layers, image_config(source)))


def _programs(source: EngineSource, root: ImageRoot) -> list[TarEntry]:
    """The scripts to keep, started by the image's Python instead of the one that pip ran on."""
    entries = []
    for name in source.programs:
        _, _, body = (root.packages / "bin" / name).read_text().partition("\n")
        content = f"#!/usr/bin/python{source.python}\n{body}".encode()
        entries.append(TarEntry(f"usr/local/bin/{name}", content=content, mode=0o755))
    return entries


def _trim(source: EngineSource, root: ImageRoot, context: BuildContext) -> None:
    context.step.update("leaving out what is not read at run time")
    forget_scripts(root.packages)
    saved = remove_matching(root.packages, ("bin", *source.remove))
    if source.unlinked_below:
        saved += remove_unlinked(root.packages, source.unlinked_below)
    context.step.update(f"left out {saved / 1e6:.0f} MB")


def _add_distributions(source: EngineSource, root: ImageRoot) -> None:
    for name, version in source.distributions.items():
        directory = root.packages / f"{name}-{version}.dist-info"
        directory.mkdir()
        (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def _model_classes(source: EngineSource, root: ImageRoot, context: BuildContext) -> list[TarEntry]:
    """Let vLLM write its cache of model properties, which otherwise costs a process that imports everything again."""
    if not source.model_classes:
        return []
    context.step.update("asking vLLM about its model classes")
    cache = context.workdir / "cache"
    home = {"VLLM_CACHE_ROOT": str(cache), "HOME": str(context.workdir), "VLLM_NO_USAGE_STATS": "1"}
    root.run(context, [str(_CACHE_SCRIPT), *source.model_classes], env=home)
    files = [path for path in sorted(cache.rglob("*")) if path.is_file()]
    return [TarEntry(f"{_CACHE}/{p.relative_to(cache)}", source=p, mode=0o644) for p in files]


def _layers(source: EngineSource, root: ImageRoot, extra: list[TarEntry], context: BuildContext) -> Iterator[Layer]:
    taken: set[Path] = set()
    for number, patterns in enumerate(source.layers, start=1):
        context.step.update("writing layers", done=number, total=len(source.layers) + 1)
        members = {path for pattern in patterns for path in root.packages.glob(pattern)} - taken
        taken |= members
        yield tar_layer(context.store, _entries(members, root, taken - members), compression="zstd")
    rest = set(root.packages.iterdir()) - taken
    yield tar_layer(context.store, [*_entries(rest, root, taken), *extra], compression="zstd")


def _entries(members: set[Path], root: ImageRoot, elsewhere: set[Path]) -> list[TarEntry]:
    """Everything in these members, without what an earlier layer has."""
    found: list[Path] = []
    waiting = sorted(members)
    while waiting:
        path = waiting.pop()
        if path in elsewhere:
            continue
        found.append(path)
        if path.is_dir() and not path.is_symlink():
            waiting += sorted(path.iterdir())
    return [TarEntry(str(path.relative_to(root.path)), source=path, mode=_mode(path)) for path in found]


def _mode(path: Path) -> int | None:
    """What pip's umask made of the mode does not decide the digest."""
    if path.is_symlink():
        return None
    return 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644
