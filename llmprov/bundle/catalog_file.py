"""Reads catalogs: YAML files of artifacts, with `${name}` for shared versions and `include` for common parts."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from llmprov.bundle.catalog import ArtifactSpec, BuilderRegistry
from llmprov.bundle.lock import schema_findings
from llmprov.errors import BundleError

_REMEDY = "correct the catalog; docs/bundle.md describes its format"


class Catalog(BaseModel):
    """Artifacts by name, in the catalog's order."""

    model_config = ConfigDict(frozen=True)

    name: str
    versions: Mapping[str, str]
    artifacts: tuple[ArtifactSpec, ...]

    @property
    def by_name(self) -> Mapping[str, ArtifactSpec]:
        """Artifacts by name."""
        return {spec.name: spec for spec in self.artifacts}


def catalog_path(name: str) -> Path:
    """The catalog file that the package carries under this name."""
    return Path(str(files("llmprov.bundle") / "catalogs" / f"{name}.yml"))


def load_catalog(path: Path, builders: BuilderRegistry) -> Catalog:
    """Read a catalog file; all its errors are raised at once."""
    document = _read(path)
    versions = {str(key): str(value) for key, value in _mapping(document, "versions", path).items()}
    items = _list(document, "artifacts", path)
    for included in _list(document, "include", path):
        shared = _read(path.parent / str(included))
        versions = {str(k): str(v) for k, v in _mapping(shared, "versions", path).items()} | versions
        items += _list(shared, "artifacts", path)
    specs, findings = _specs(items, versions, builders)
    findings += _reference_findings(specs)
    if findings:
        raise BundleError(f"{path} has {len(findings)} errors", remedy=_REMEDY, details=tuple(findings))
    return Catalog(name=path.stem, versions=versions, artifacts=tuple(specs))


def _read(path: Path) -> Mapping[str, object]:
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise BundleError(f"no catalog {path}", remedy="use --catalog upstream, registries or auto") from error
    except yaml.YAMLError as error:
        raise BundleError(f"{path} is not YAML: {error}", remedy=_REMEDY) from error
    if not isinstance(document, dict):
        raise BundleError(f"{path} is not a mapping", remedy=_REMEDY)
    if unknown := set(document) - {"versions", "include", "artifacts"}:
        raise BundleError(f"{path} has unknown keys: {', '.join(sorted(map(str, unknown)))}", remedy=_REMEDY)
    return document


def _mapping(document: Mapping[str, object], key: str, path: Path) -> Mapping[object, object]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise BundleError(f"{path}: {key} is not a mapping", remedy=_REMEDY)
    return value


def _list(document: Mapping[str, object], key: str, path: Path) -> list[object]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise BundleError(f"{path}: {key} is not a list", remedy=_REMEDY)
    return list(value)


def _specs(
    items: list[object], versions: Mapping[str, str], builders: BuilderRegistry
) -> tuple[list[ArtifactSpec], list[str]]:
    specs: list[ArtifactSpec] = []
    findings: list[str] = []
    for position, item in enumerate(items, start=1):
        label = str(item.get("name", f"artifact {position}")) if isinstance(item, dict) else f"artifact {position}"
        try:
            specs.append(ArtifactSpec.model_validate(_fill_item(item, versions), context={"builders": builders}))
        except KeyError as error:
            findings.append(f"{label}: no version named {error}")
        except ValueError as error:
            lines = schema_findings(error) if isinstance(error, ValidationError) else (str(error),)
            findings += [f"{label}: {line}" for line in lines]
    return specs, findings


def _fill_item(item: object, versions: Mapping[str, str]) -> object:
    """Put versions in; `${version}` is the artifact's own."""
    if not isinstance(item, dict):
        return item
    own = Template(str(item.get("version", ""))).substitute(versions)
    return _fill(item, {**versions, "version": own}) | {"version": own}


def _fill[T](value: T, names: Mapping[str, str]) -> T:
    if isinstance(value, dict):
        return cast("T", {key: _fill(item, names) for key, item in value.items()})
    if isinstance(value, list):
        return cast("T", [_fill(item, names) for item in value])
    if isinstance(value, str):
        return cast("T", Template(value).substitute(names))
    return value


def _reference_findings(specs: list[ArtifactSpec]) -> list[str]:
    names = [spec.name for spec in specs]
    twice = [f"{name}: named twice" for name in sorted({name for name in names if names.count(name) > 1})]
    unknown = [
        f"{spec.name}: needs {need}, which the catalog does not have"
        for spec in specs
        for need in spec.needs
        if need not in names
    ]
    return twice + (unknown or _circles(specs))


def _circles(specs: list[ArtifactSpec]) -> list[str]:
    try:
        TopologicalSorter({spec.name: spec.needs for spec in specs}).prepare()
    except CycleError as error:
        return [f"artifacts need each other in a circle: {' → '.join(error.args[1])}"]
    return []
