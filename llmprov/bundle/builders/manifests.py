"""Manifests of add-ons, rendered from the official chart or kustomization that their Go module carries."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Template
from typing import Literal

import yaml
from pydantic import Field

from llmprov.bundle.builders.gotool import download
from llmprov.bundle.builders.requirements import Requirement, go_toolchain
from llmprov.bundle.catalog import ArtifactSpec, BuildContext, Built, BuiltFile, Source
from llmprov.errors import BundleError

_REVISION = "1"
_TEMPLATE_SUFFIX = ".tmpl.yaml"


class ModuleSource(Source):
    """A directory of a Go module; the artifact's version, with a `v`, is the module's version.

    Attributes:
        module: the module's path.
        directory: what to render, relative to the module.
        go: the oldest Go that accepts the module.
    """

    module: str
    directory: str
    go: str = "1.26.0"

    def describe(self) -> str:
        """Say module and directory."""
        return f"go:{self.module}: {self.directory}"


class HelmSource(ModuleSource):
    """A chart, rendered with a needed helm.

    Attributes:
        helm: the needed program.
        release: name of the release.
        namespace: namespace of the release.
        kubernetes: the version that the chart is rendered for.
        fill: `${name}` of the chart's `*.tmpl.yaml` files, which its own release process fills in.
        values: settings as on helm's command line: `createNamespace=true`.
    """

    type: Literal["helm-chart"] = "helm-chart"
    helm: str
    release: str
    namespace: str
    kubernetes: str
    fill: Mapping[str, str] = Field(default_factory=dict)
    values: tuple[str, ...] = ()


class KustomizeSource(ModuleSource):
    """A kustomization, rendered with a needed kubectl.

    Attributes:
        kubectl: the needed program.
        overlay: what a kustomization over it says besides `resources`: `images`, `namespace`, `patches`.
    """

    type: Literal["kustomize"] = "kustomize"
    kubectl: str
    overlay: Mapping[str, object] = Field(default_factory=dict)


@dataclass(frozen=True)
class HelmBuilder:
    """Renders charts, with the custom resource definitions that they carry."""

    source_model: type[Source] = HelmSource

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:
        """The go command fetches the module."""
        return (go_toolchain(spec.source_as(HelmSource).go),)

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's names
        """The way of rendering."""
        return {"revision": _REVISION}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Copy the chart, give it the release's version, render."""
        source = spec.source_as(HelmSource)
        chart = copy_tree(_module(source, spec.version, context), source.directory, context.workdir / "chart")
        as_released(chart, f"v{spec.version}", source.fill)
        context.step.update("rendering")
        argv = [str(_program(context, source.helm)), "template", source.release, str(chart), "--include-crds"]
        argv += [f"--namespace={source.namespace}", f"--kube-version={source.kubernetes}"]
        argv += [f"--set={setting}" for setting in source.values]
        # Nothing of the user's own helm counts.
        homes = {f"HELM_{kind}_HOME": str(context.workdir / "helm") for kind in ("CACHE", "CONFIG", "DATA")}
        target = context.workdir / "rendered.yaml"
        context.run(["sh", "-c", 'exec "$@" > rendered.yaml', "sh", *argv], env=homes)
        return BuiltFile(context.store.put_file(target, move=True))


@dataclass(frozen=True)
class KustomizeBuilder:
    """Renders kustomizations."""

    source_model: type[Source] = KustomizeSource

    def requirements(self, spec: ArtifactSpec) -> tuple[Requirement, ...]:
        """The go command fetches the module."""
        return (go_toolchain(spec.source_as(KustomizeSource).go),)

    def inputs(self, spec: ArtifactSpec) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's names
        """The way of rendering."""
        return {"revision": _REVISION}

    def build(self, spec: ArtifactSpec, context: BuildContext) -> Built:
        """Copy the top directory of the kustomization, since it may reach its neighbours, and render one over it."""
        source = spec.source_as(KustomizeSource)
        top = PurePosixPath(source.directory).parts[0]
        overlay = context.workdir / "overlay"
        copy_tree(_module(source, spec.version, context), top, overlay / top)
        document = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [source.directory],
            **source.overlay,
        }
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(document))
        context.step.update("rendering")
        target = context.workdir / "rendered.yaml"
        context.run([str(_program(context, source.kubectl)), "kustomize", str(overlay), f"--output={target}"])
        return BuiltFile(context.store.put_file(target, move=True))


def copy_tree(module: Path, directory: str, target: Path) -> Path:
    """Copy the files of a module's directory; the module cache is read-only, and a copy with its modes would be too."""
    origin = module / directory
    if not origin.is_dir():
        raise BundleError(f"the module has no directory {directory}", remedy="correct directory in the catalog")
    for path in sorted(origin.rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(origin)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return target


def as_released(chart: Path, version: str, fill: Mapping[str, str]) -> None:
    """Do to a chart what releasing it does: set its version, and fill in its templates of values."""
    description = chart / "Chart.yaml"
    document = yaml.safe_load(description.read_text())
    description.write_text(yaml.safe_dump({**document, "version": version, "appVersion": version}, sort_keys=False))
    for path in sorted(chart.glob(f"*{_TEMPLATE_SUFFIX}")):
        try:
            text = Template(path.read_text()).substitute(fill)
        except KeyError as error:
            raise BundleError(
                f"{path.name} of the chart asks for {error}", remedy="add it to fill in the catalog"
            ) from error
        path.with_name(path.name.replace(_TEMPLATE_SUFFIX, ".yaml")).write_text(text)


def _module(source: ModuleSource, version: str, context: BuildContext) -> Path:
    return download(source.module, version, context).directory


def _program(context: BuildContext, name: str) -> Path:
    """A needed program, made executable."""
    copy = context.workdir / "program"
    shutil.copyfile(context.file(name), copy)
    copy.chmod(0o755)
    return copy
