"""Compiles llmprov's own Go programs, which travel as source with its Ansible content."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmprov.bundle.builders.gotool import compile_program, toolchain
from llmprov.bundle.builders.requirements import Requirement, go_toolchain, go_version
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltFile, Source
from llmprov.errors import BundleError
from llmprov.paths import content_root

_REVISION = "1"
_FLAGS = "-s -w -buildid="


class LocalGoSource(Source):
    """A program of a Go module that llmprov carries.

    Attributes:
        directory: the module, relative to the content root: `images/gpu-simulator`.
        program: file name of the program; its main package is the module's root.
        go: the oldest Go that can compile it.
    """

    type: Literal["go-local"] = "go-local"
    directory: str
    program: str
    go: str = "1.26.0"

    @property
    def path(self) -> Path:
        """Where the module is on this machine."""
        path = content_root() / self.directory
        if not (path / "go.mod").is_file():
            raise BundleError(
                f"there is no Go module at {path}", remedy="reinstall llmprov, or correct directory in the catalog"
            )
        return path

    def describe(self) -> str:
        """Say the directory; where it is on this machine says nothing."""
        return f"llmprov:{self.directory}"


@dataclass(frozen=True)
class LocalGoBuilder:
    """Compiles a module of ours; what it requires is checked against its go.sum."""

    source_model: type[Source] = LocalGoSource

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:
        """A Go toolchain."""
        return (go_toolchain(spec.source_as(LocalGoSource).go),)

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:
        """The toolchain and every source file."""
        path = spec.source_as(LocalGoSource).path
        return {"revision": _REVISION, "go": go_version(), "files": fingerprint(path)}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Copy the module, compile, store."""
        source = spec.source_as(LocalGoSource)
        for path in source_files(source.path):
            shutil.copyfile(path, context.workdir / path.name)
        target = context.workdir / "out" / source.program
        with toolchain(context):
            compile_program(context, ".", target, flags=_FLAGS)
        return BuiltFile(context.store.put_file(target, move=True))


def source_files(module: Path) -> list[Path]:
    """The files that decide the program: go.mod, go.sum, and Go files that are not tests."""
    files = [path for path in module.iterdir() if path.suffix in {".go", ".mod", ".sum"}]
    return sorted(path for path in files if not path.name.endswith("_test.go"))


def fingerprint(module: Path) -> str:
    """The hash of a module's source files."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in source_files(module)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
