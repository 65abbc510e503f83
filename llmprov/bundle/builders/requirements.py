"""What the machine must have before anything is built: every missing tool is reported at once, with the fix."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llmprov.errors import BundleError


@dataclass(frozen=True, slots=True)
class Requirement:
    """A tool that a build needs.

    Args:
        name: as a person says it: `mmdebstrap`, `Go 1.26.0 or newer`.
        why: what needs it, in a few words.
        problem: says what is wrong on this machine, or nothing when all is well.
        apt: the Debian packages that bring it; empty when Debian's own is not enough.
        hint: what to do when `apt` is empty.
    """

    name: str
    why: str
    problem: Callable[[], str]
    apt: tuple[str, ...] = ()
    hint: str = ""


def program(name: str, why: str, *apt: str) -> Requirement:
    """A program that must be on PATH."""
    return Requirement(name, why, lambda: "" if shutil.which(name) else "not found on PATH", apt or (name,))


def file_of(pattern: str, name: str, why: str, *apt: str) -> Requirement:
    """A file that must exist, such as a static library; `pattern` is a glob below /."""
    return Requirement(name, why, lambda: "" if any(Path("/").glob(pattern)) else f"no file /{pattern}", apt)


def go_toolchain(minimum: str) -> Requirement:
    """A Go toolchain that is new enough; an older one is not replaced behind the user's back."""
    return Requirement(
        f"Go {minimum} or newer",
        "compiles the cluster's programs",
        lambda: _go_problem(minimum),
        hint=f"install Go {minimum} or newer from https://go.dev/dl and put its bin directory on PATH",
    )


def go_version() -> str:
    """The version of the Go toolchain on PATH, such as `1.26.8`; empty without one."""
    path = shutil.which("go")
    return _version_of(path) if path else ""


@cache
def _version_of(go: str) -> str:
    try:
        told = subprocess.run(
            [go, "env", "GOVERSION"],
            env=os.environ | {"GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except subprocess.CalledProcessError:
        return ""
    return told.strip().removeprefix("go")


def check(requirements: Iterable[Requirement]) -> None:
    """Raise one BundleError that names everything missing; each tool is looked for once."""
    unique = {requirement.name: requirement for requirement in requirements}
    missing = [(need, problem) for _, need in sorted(unique.items()) if (problem := need.problem())]
    if not missing:
        return
    packages = sorted({package for need, _ in missing for package in need.apt})
    remedies = [f"apt-get install -y {' '.join(packages)}"] if packages else []
    remedies += [need.hint for need, _ in missing if need.hint]
    raise BundleError(
        f"{len(missing)} tools are missing on this machine; nothing was built",
        remedy="; ".join(remedies),
        details=tuple(f"{need.name}: {problem} ({need.why})" for need, problem in missing),
    )


def version_tuple(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison: `1.26.8` and `1.26rc1` are (1, 26, 8) and (1, 26)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _go_problem(minimum: str) -> str:
    found = go_version()
    if not found:
        return "not found on PATH"
    return "" if version_tuple(found) >= version_tuple(minimum) else f"found Go {found}"
