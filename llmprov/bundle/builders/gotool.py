"""The go command: one compiler at a time, the settings that decide its result, and downloads of modules."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmprov.bundle.catalog import BuildContext
from llmprov.errors import BundleError

# A Go build uses every core, and two of them would compile the packages they share twice.
_TOOLCHAIN = threading.Lock()
_WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Module:
    """What the go command says about a downloaded module.

    Args:
        directory: its source, read-only.
        go_mod: the text of its go.mod.
        time: when this version was published, in RFC 3339.
    """

    directory: Path
    go_mod: str
    time: str


@contextmanager
def toolchain(context: BuildContext) -> Iterator[None]:
    """Wait for the toolchain, and have it for oneself."""
    if not _TOOLCHAIN.acquire(blocking=False):
        context.step.update("waiting for the Go toolchain")
        while not _TOOLCHAIN.acquire(timeout=_WAIT_SECONDS):
            if context.cancelled.is_set():
                raise BundleError("the build was interrupted", remedy="run it again; finished artifacts are kept")
    try:
        yield
    finally:
        _TOOLCHAIN.release()


def download(module: str, version: str, context: BuildContext) -> Module:
    """Fetch a module; the checksum database vouches for it.

    Args:
        module: its path.
        version: without a `v`.
        context: of the build.
    """
    context.step.update(f"downloading {module}")
    output = context.run(["go", "mod", "download", "-json", f"{module}@v{version}"], env=environment(cgo=False))
    told = json.loads(output[output.index("{") : output.rindex("}") + 1])
    return Module(
        directory=Path(told["Dir"]),
        go_mod=Path(told["GoMod"]).read_text(),
        time=str(json.loads(Path(told["Info"]).read_text()).get("Time", "1970-01-01T00:00:00Z")),
    )


def compile_program(
    context: BuildContext, package: str, target: Path, *, flags: str, cgo: bool = False, tags: tuple[str, ...] = ()
) -> None:
    """Compile a package of the module in `workdir`, or of one that it requires.

    Args:
        context: of the build.
        package: import path, or `.`.
        target: the program.
        flags: for the linker.
        cgo: compile C too.
        tags: build tags.
    """
    context.step.update(f"compiling {target.name}")
    argv = ["go", "build", "-mod=mod", "-trimpath", "-buildvcs=false", "-tags", ",".join(tags)]
    context.run([*argv, "-ldflags", flags, "-o", str(target), package], env=environment(cgo=cgo))


def environment(*, cgo: bool) -> dict[str, str]:
    """What decides the result is set here; where modules and caches live stays the user's own choice."""
    return {
        "CGO_ENABLED": "1" if cgo else "0",
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
