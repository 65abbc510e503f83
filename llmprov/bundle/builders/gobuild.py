"""Compiles programs of Go modules: the module proxy gives the source, the checksum database vouches for it."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmprov.bundle.builders.gomodule import GoSource, go_mod, linker_flags, without_imports
from llmprov.bundle.builders.requirements import Requirement, file_of, go_toolchain, go_version, program
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltFile, Source
from llmprov.bundle.layers import TarEntry, tar_layer
from llmprov.errors import BundleError

# Raised when the way of building changes the bytes.
_REVISION = "1"
# A Go build uses every core, and two of them would compile the packages they share twice.
_TOOLCHAIN = threading.Lock()
_WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Module:
    """What the go command says about a downloaded module."""

    directory: Path
    go_mod: str
    time: str


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
        with _exclusive(context):
            context.step.update(f"downloading {source.module}")
            module = _download(source, spec.version, context)
            programs = _compile(source, spec.version, module, context)
        if not source.archive:
            return BuiltFile(context.store.put_file(programs[0], move=True))
        context.step.update("packing")
        entries = [TarEntry(path.name, source=path, mode=0o755) for path in programs]
        return BuiltFile(tar_layer(context.store, entries, compression="gzip").blob)


@contextmanager
def _exclusive(context: BuildContext) -> Iterator[None]:
    if not _TOOLCHAIN.acquire(blocking=False):
        context.step.update("waiting for the Go toolchain")
        while not _TOOLCHAIN.acquire(timeout=_WAIT_SECONDS):
            if context.cancelled.is_set():
                raise BundleError("the build was interrupted", remedy="run it again; finished artifacts are kept")
    try:
        yield
    finally:
        _TOOLCHAIN.release()


def _download(source: GoSource, version: str, context: BuildContext) -> _Module:
    output = context.run(["go", "mod", "download", "-json", f"{source.module}@v{version}"], env=_environment(source))
    told = json.loads(output[output.index("{") : output.rindex("}") + 1])
    return _Module(
        directory=Path(told["Dir"]),
        go_mod=Path(told["GoMod"]).read_text(),
        time=str(json.loads(Path(told["Info"]).read_text()).get("Time", "1970-01-01T00:00:00Z")),
    )


def _compile(source: GoSource, version: str, module: _Module, context: BuildContext) -> list[Path]:
    (context.workdir / "go.mod").write_text(go_mod(source, f"v{version}", module.go_mod))
    flags = linker_flags(source, version, module.time)
    out = context.workdir / "out"
    programs = []
    for name, package in source.programs.items():
        context.step.update(f"compiling {name}")
        target = _own_main(source, module, context) if source.leave_out else package
        argv = ["go", "build", "-mod=mod", "-trimpath", "-buildvcs=false", "-tags", ",".join(source.tags)]
        context.run([*argv, "-ldflags", flags, "-o", str(out / name), target], env=_environment(source))
        programs.append(out / name)
    return programs


def _own_main(source: GoSource, module: _Module, context: BuildContext) -> str:
    """Copy the main package without the imports that cannot be fetched; the rest stays the module's."""
    package = next(iter(source.programs.values()))
    origin = module.directory / package.removeprefix(source.module).strip("/")
    for path in sorted(origin.glob("*.go")):
        if not path.name.endswith("_test.go"):
            (context.workdir / path.name).write_text(without_imports(path.read_text(), source.leave_out))
    return "."


def _environment(source: GoSource) -> dict[str, str]:
    """What decides the result is set here; where modules and caches live stays the user's own choice."""
    return {
        "CGO_ENABLED": "1" if source.cgo else "0",
        "CGO_CFLAGS": "-O2 -g",
        "CGO_LDFLAGS": "-O2 -g",
        "GOARCH": "amd64",
        "GOAMD64": "v1",
        "GOEXPERIMENT": "",
        "GOFLAGS": "",
        "GOOS": "linux",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
