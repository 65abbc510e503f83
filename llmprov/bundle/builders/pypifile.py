"""Single files of Python wheels: some programs are published that way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmprov.bundle.builders.pypi import LockedSource, install, pins, pip_requirement
from llmprov.bundle.builders.requirements import Requirement
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltFile, Source
from llmprov.errors import BundleError

_REVISION = "1"


class WheelFileSource(LockedSource):
    """One file of a locked wheel, whose version is the artifact's.

    Attributes:
        path: the file among the installed ones: `envoy/_bin/envoy`.
    """

    type: Literal["pypi-file"] = "pypi-file"
    path: str

    def describe(self) -> str:
        """Say the lock file and the file."""
        return f"pypi:{self.lock}: {self.path}"


@dataclass(frozen=True)
class WheelFileBuilder:
    """Takes one file out of a wheel."""

    source_model: type[Source] = WheelFileSource

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:  # noqa: ARG002 - the protocol's names
        """Pip."""
        return (pip_requirement(),)

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:
        """The lock file."""
        return {"revision": _REVISION, "lock": spec.source_as(WheelFileSource).lock_digest}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Install the wheel aside, store the file."""
        source = spec.source_as(WheelFileSource)
        locked = pins(source.lock_path.read_text())
        if spec.version not in locked.values():
            raise BundleError(
                f"{source.lock} has {', '.join(f'{name} {version}' for name, version in locked.items())}, "
                f"the catalog says {spec.version}",
                remedy="correct the version in the catalog, or write the lock file anew",
            )
        packages = context.workdir / "packages"
        install(context, source.lock_path, packages, source.python)
        wanted = packages / source.path
        if not wanted.is_file():
            raise BundleError(f"the wheel has no file {source.path}", remedy="correct path in the catalog")
        return BuiltFile(context.store.put_file(wanted))
