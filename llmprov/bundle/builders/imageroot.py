"""Runs a root file system's own Python without entering it: no root, no container, whatever the machine's Python is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmprov.bundle.catalog import BuildContext
from llmprov.bundle.oci import Descriptor, parse_manifest
from llmprov.errors import BundleError

# What in the order of a set or the identity of an object could change compiled files is pinned.
_REPEATABLE = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """An unpacked root file system with a Python in it.

    Args:
        path: the directory.
        python: major and minor version: `3.13`.
    """

    path: Path
    python: str

    @property
    def packages(self) -> Path:
        """Where Debian's Python looks for packages that do not come from Debian."""
        return self.path / "usr/local/lib" / f"python{self.python}" / "dist-packages"

    def command(self, arguments: Iterable[str]) -> list[str]:
        """The command line that runs Python by the root's own dynamic loader and C library."""
        loader, program = self.path / _LOADER, self.path / "usr/bin" / f"python{self.python}"
        return [str(loader), "--library-path", str(self.path / _LIBRARIES), str(program), *arguments]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """What makes that Python find its library, and nothing of this machine's."""
        return {
            **_REPEATABLE,
            "PYTHONHOME": str(self.path / "usr"),
            "PYTHONPATH": "",
            "PYTHONNOUSERSITE": "1",
            **(extra or {}),
        }

    def run(self, context: BuildContext, arguments: Iterable[str], env: Mapping[str, str] | None = None) -> str:
        """Run Python and return what it says."""
        return context.run(self.command(arguments), env=self.environment(env))


def unpack(context: BuildContext, archive: Path, target: Path) -> None:
    """Unpack the tar of a root file system."""
    target.mkdir(parents=True, exist_ok=True)
    _extract(context, archive, target)
    if not (target / _LOADER).exists():
        raise BundleError(
            f"the root file system has no dynamic loader at /{_LOADER}",
            remedy="base the engine on a debian-rootfs with python3",
        )


def unpack_image(context: BuildContext, image: Descriptor, target: Path) -> None:
    """Unpack the layers of an image in the store, lowest first. Deletions in upper layers are not followed."""
    target.mkdir(parents=True, exist_ok=True)
    manifest = parse_manifest(context.store.path(image.digest).read_bytes(), image.digest)
    for layer in manifest.layers:
        compression = ["--zstd"] if layer.media_type.endswith("+zstd") else []
        _extract(context, context.store.path(layer.digest), target, *compression)


def _extract(context: BuildContext, archive: Path, target: Path, *options: str) -> None:
    # Devices are left out, since only root may make them.
    kept = ["--no-same-owner", "--exclude=./dev/*"]
    context.run(["tar", "--extract", *options, *kept, f"--file={archive}", f"--directory={target}"])
