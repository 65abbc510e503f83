"""Installs locked Python packages for an image with pip, whatever Python pip itself runs on."""

import hashlib
import importlib.util
import re
import shutil
import sys
from pathlib import Path

from pydantic import Field

from llmprov.bundle.builders.requirements import Requirement
from llmprov.bundle.catalog import BuildContext, Source
from llmprov.bundle.catalog_file import catalog_path

# Newer C libraries run wheels of older ones; pip takes the list literally, in order of preference.
_GLIBC_MINORS = range(41, 4, -1)
_LEGACY_PLATFORMS = ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "any")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)", re.MULTILINE)


class LockedSource(Source):
    """What all sources of Python packages share.

    Attributes:
        lock: requirements file beside the catalog: every package with its version and the sha256 of its wheel.
        python: the version of Python that the wheels are for: `3.13`.
    """

    lock: str
    python: str = Field(pattern=r"^3\.\d+$")

    @property
    def lock_path(self) -> Path:
        """The lock file."""
        return catalog_path("registries").with_name(self.lock)

    @property
    def lock_digest(self) -> str:
        """The sha256 of the lock file."""
        return hashlib.sha256(self.lock_path.read_bytes()).hexdigest()


def pip_requirement() -> Requirement:
    """Pip: the one of this Python, or any on PATH."""
    return Requirement("pip", "installs the Python packages of images", _pip_problem, ("python3-pip",))


def pip_command() -> list[str]:
    """How to call pip."""
    return [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else ["pip3"]


def pins(lock: str) -> dict[str, str]:
    """The packages of a lock file and their versions."""
    return dict(_PIN.findall(lock))


def platform_options(python: str) -> list[str]:
    """The pip options that choose wheels for a Debian of the image, not for this machine.

    Args:
        python: major and minor version: `3.13`.
    """
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in _GLIBC_MINORS] + list(_LEGACY_PLATFORMS)
    abi = f"cp{python.replace('.', '')}"
    options = ["--implementation=cp", f"--python-version={python}", "--only-binary=:all:"]
    return options + [f"--abi={name}" for name in (abi, "abi3", "none")] + [f"--platform={name}" for name in platforms]


def install(context: BuildContext, lock: Path, target: Path, python: str) -> None:
    """Install exactly the locked files into a directory, without compiling them.

    They are downloaded once: what is in `context.wheels` and has the locked hash is taken from there.

    Args:
        context: of the build.
        lock: a requirements file in which every package has a version and hashes.
        target: the directory, which becomes a `dist-packages`.
        python: major and minor version of the image's Python.
    """
    context.step.update(f"downloading {len(pins(lock.read_text()))} Python packages")
    _pip(context, lock, python, "download", f"--dest={context.wheels}", "--no-cache-dir")  # kept once is enough
    context.step.update("installing Python packages")
    local = ["--no-index", f"--find-links={context.wheels}"]
    _pip(context, lock, python, "install", f"--target={target}", *local, "--no-compile", "--no-warn-conflicts")


def _pip(context: BuildContext, lock: Path, python: str, verb: str, *options: str) -> None:
    argv = [*pip_command(), verb, "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", *options]
    # pip moves gigabytes from its temporary directory to where they belong: a rename only on the same file system.
    context.run([*argv, *platform_options(python), f"--requirement={lock}"], env={"TMPDIR": str(context.workdir)})


def _pip_problem() -> str:
    return "" if importlib.util.find_spec("pip") or shutil.which("pip3") else "not found"
