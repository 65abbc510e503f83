"""The source of the Go builder, and the go.mod that it stands for."""

import re
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from llmprov.bundle.builders.requirements import version_tuple
from llmprov.bundle.catalog import Source

# A staging module is required at this version by a repository that replaces it with a directory of its own.
_UNVERSIONED = "v0.0.0"
_STATIC = "-extldflags -static"
_REQUIREMENT = re.compile(r"^\s*(?:require\s+)?(\S+)\s+(v\S+)\s*(?://.*)?$", re.MULTILINE)


class GoSource(Source):
    """Programs of a Go module, compiled here.

    Attributes:
        module: the module's path; the artifact's version, with a `v`, is the module's version.
        programs: file name of each program, and its package.
        requires: further modules and their versions, with a `v`; a `replace` in the module's own go.mod does not count
            for us. Artifacts with the same ones share every package that they compile.
        staging: the version of the modules that the module requires at v0.0.0 and replaces by its own directories.
        leave_out: packages that the main package imports only for their side effect, and that cannot be fetched.
        cgo: compile C too; the result is linked statically all the same.
        dynamic: flags for the C linker of a program that loads shared libraries, which a static one cannot.
        tags: build tags.
        variables: string variables set at link time; `{version}`, `{major}`, `{minor}` and `{time}` are filled in.
        archive: make one gzip-compressed tar of all programs instead of a single file.
        go: the oldest Go that can compile it.
    """

    optional: ClassVar[frozenset[str]] = frozenset({"dynamic"})

    type: Literal["go"] = "go"
    module: str
    programs: Mapping[str, str] = Field(min_length=1)
    requires: Mapping[str, str] = Field(default_factory=dict)
    staging: str | None = None
    leave_out: tuple[str, ...] = ()
    cgo: bool = False
    dynamic: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    variables: Mapping[str, str] = Field(default_factory=dict)
    archive: bool = False
    go: str = "1.26.0"

    def describe(self) -> str:
        """Say the module; its version is the artifact's."""
        return f"go:{self.module}"


def go_mod(source: GoSource, version: str, root_mod: str) -> str:
    """Write the go.mod that builds a module's programs at exactly the versions its own go.mod asks for.

    Args:
        source: the catalog entry.
        version: the module's version, with a `v`.
        root_mod: the text of the module's go.mod.
    """
    # What else is required may ask for a newer language than the module.
    language = max(go_directive(root_mod), source.go if source.requires else "", key=version_tuple)
    lines = ["module llmprov.invalid/build", "", f"go {language}", "", "require ("]
    lines += [f"\t{name} {wanted}" for name, wanted in sorted({source.module: version, **source.requires}.items())]
    lines.append(")")
    if source.staging:
        lines += ["", "replace ("]
        lines += [f"\t{name} => {name} {source.staging}" for name in unversioned(root_mod)]
        lines.append(")")
    return "\n".join(lines) + "\n"


def go_directive(root_mod: str) -> str:
    """The language version of a go.mod."""
    match = re.search(r"^go (\S+)", root_mod, re.MULTILINE)
    return match[1] if match else "1.16"


def unversioned(root_mod: str) -> tuple[str, ...]:
    """The modules that a go.mod requires at v0.0.0, sorted."""
    return tuple(sorted({name for name, version in _REQUIREMENT.findall(root_mod) if version == _UNVERSIONED}))


def linker_flags(source: GoSource, version: str, time: str) -> str:
    """The value of -ldflags: no symbols, no build id, the variables.

    Args:
        source: the catalog entry.
        version: without a `v`.
        time: when the module's version was published, in RFC 3339.
    """
    major, minor, *_ = [*version.split("."), "0"]
    names = {"version": version, "major": major, "minor": minor, "time": time}
    flags = ["-s", "-w", "-buildid="]
    flags += [f"-X '{name}={value.format(**names)}'" for name, value in sorted(source.variables.items())]
    if source.cgo:
        flags += ["-linkmode external", f"-extldflags '{' '.join(source.dynamic)}'" if source.dynamic else _STATIC]
    return " ".join(flags)


def without_imports(main: str, leave_out: tuple[str, ...]) -> str:
    """A Go file without the blank imports of these packages."""
    drop = {f'_ "{package}"' for package in leave_out}
    return "".join(line for line in main.splitlines(keepends=True) if line.strip() not in drop)
