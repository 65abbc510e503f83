"""Compiles programs of Go modules: the module proxy gives the source, the checksum database vouches for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmprov.bundle.builders.gomodule import GoSource, go_mod, linker_flags, without_imports
from llmprov.bundle.builders.gotool import Module, compile_program, download, toolchain
from llmprov.bundle.builders.requirements import Requirement, file_of, go_toolchain, go_version, program
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltFile, Source
from llmprov.bundle.layers import TarEntry, tar_layer

# Raised when the way of building changes the bytes.
_REVISION = "1"


@dataclass(frozen=True)
class GoBuilder:
    """Compiles Go programs, the same bytes on every machine that has the same Go version."""

    source_model: type[Source] = GoSource

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:
        """A Go toolchain, and for cgo a C compiler and the static libraries."""
        source = spec.source_as(GoSource)
        needs = [go_toolchain(source.go)]
        if source.cgo:
            needs.append(program("gcc", "compiles the C parts of Go programs", "gcc", "libc6-dev"))
        if "seccomp" in source.tags:
            needs.append(program("pkg-config", "finds libseccomp", "pkg-config"))
            needs.append(file_of("usr/lib/*/libseccomp.a", "libseccomp.a", "is linked into runc", "libseccomp-dev"))
        return tuple(needs)

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's names
        """The toolchain decides the bytes."""
        return {"revision": _REVISION, "go": go_version()}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Download the module, write a go.mod around it, compile, store."""
        source = spec.source_as(GoSource)
        with toolchain(context):
            module = download(source.module, spec.version, context)
            programs = _compile(source, spec.version, module, context)
        if not source.archive:
            return BuiltFile(context.store.put_file(programs[0], move=True))
        context.step.update("packing")
        entries = [TarEntry(path.name, source=path, mode=0o755) for path in programs]
        return BuiltFile(tar_layer(context.store, entries, compression="gzip").blob)


def _compile(source: GoSource, version: str, module: Module, context: BuildContext) -> list[Path]:
    (context.workdir / "go.mod").write_text(go_mod(source, f"v{version}", module.go_mod))
    flags = linker_flags(source, version, module.time)
    programs = []
    for name, package in source.programs.items():
        target = context.workdir / "out" / name
        wanted = _own_main(source, module, context) if source.leave_out else package
        compile_program(context, wanted, target, flags=flags, cgo=source.cgo, tags=source.tags)
        programs.append(target)
    return programs


def _own_main(source: GoSource, module: Module, context: BuildContext) -> str:
    """Copy the main package without the imports that cannot be fetched; the rest stays the module's."""
    package = next(iter(source.programs.values()))
    origin = module.directory / package.removeprefix(source.module).strip("/")
    for path in sorted(origin.glob("*.go")):
        if not path.name.endswith("_test.go"):
            (context.workdir / path.name).write_text(without_imports(path.read_text(), source.leave_out))
    return "."
