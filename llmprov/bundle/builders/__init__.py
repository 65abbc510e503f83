"""Builders of the `registries` catalog: Go modules, PyPI and Debian, through their ordinary clients."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from llmprov.bundle.builders.debian import PackageFileBuilder, PackagesBuilder, RootfsBuilder
from llmprov.bundle.builders.engine import EngineBuilder
from llmprov.bundle.builders.gobuild import GoBuilder
from llmprov.bundle.builders.golocal import LocalGoBuilder
from llmprov.bundle.builders.images import ImageBuilder
from llmprov.bundle.builders.manifests import HelmBuilder, KustomizeBuilder
from llmprov.bundle.builders.pypifile import WheelFileBuilder
from llmprov.bundle.builders.requirements import Requirement, check
from llmprov.bundle.builders.weights import WeightsBuilder
from llmprov.bundle.catalog import ArtifactSpec, Builder, BuilderRegistry

REGISTRIES_BUILDERS: tuple[Builder, ...] = (
    EngineBuilder(),
    GoBuilder(),
    HelmBuilder(),
    ImageBuilder(),
    KustomizeBuilder(),
    LocalGoBuilder(),
    PackageFileBuilder(),
    PackagesBuilder(),
    RootfsBuilder(),
    WeightsBuilder(),
    WheelFileBuilder(),
)


@runtime_checkable
class HasRequirements(Protocol):
    """A builder that needs tools on the machine."""

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:
        """The tools that one artifact needs."""
        ...


def check_requirements(specs: Iterable[ArtifactSpec], builders: BuilderRegistry) -> None:
    """Raise one BundleError that names every tool these artifacts need and the machine lacks."""
    needs: list[Requirement] = []
    for spec in specs:
        builder = builders.builder(spec)
        if isinstance(builder, HasRequirements):
            needs += builder.requirements(spec)
    check(needs)
