"""Reads `models/*.yml`: one model a file, every error with its line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llmprov.inventory import yaml_tree
from llmprov.inventory.findings import Finding, Place
from llmprov.inventory.model_spec import ModelSpec
from llmprov.inventory.source import MODELS
from llmprov.inventory.suggest import remedy_for

_PATTERNS: Mapping[str, tuple[str, str]] = {
    "name": (
        "is no DNS-1123 label",
        "use lower-case letters, digits and hyphens, at most 63, with a letter or digit at both ends",
    ),
    "served_name": (
        "is no name that the gateway can route by",
        "use letters, digits and . _ / : @ + -, at most 255, with a letter or digit first",
    ),
    "memory": ("is no quantity", "write it as Kubernetes does: 64Gi"),
    "shared_memory": ("is no quantity", "write it as Kubernetes does: 2Gi"),
}
_REMEDY = "see docs/inventory.md, or `llmprov inventory schema model`"


def model_files(path: Path) -> list[Path]:
    """Return the model files beside the hosts file, in order of name."""
    directory = (path if path.is_dir() else path.absolute().parent) / MODELS
    return sorted(file.absolute() for pattern in ("*.yml", "*.yaml") for file in directory.glob(pattern))


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A valid model and the file that it came from, with its lines."""

    spec: ModelSpec
    document: yaml_tree.Document

    def place(self, *path: str | int) -> Place:
        """Return where a key of the model stands."""
        return self.document.place(path)


def read_models(files: Iterable[Path]) -> tuple[list[ModelFile], list[Finding]]:
    """Return the valid models, and what is wrong with the others."""
    models: list[ModelFile] = []
    findings: list[Finding] = []
    for file in files:
        model, document, found = _read_model(file)
        findings += found
        models += [ModelFile(model, document)] if model else []
    return models, findings


def _read_model(file: Path) -> tuple[ModelSpec | None, yaml_tree.Document, list[Finding]]:
    document = yaml_tree.read(file)
    if document.findings:
        return None, document, list(document.findings)
    try:
        raw = yaml.safe_load(document.text)
    except yaml.YAMLError as error:
        return None, document, [Finding(f"YAML error: {error}", _REMEDY, Place(file))]
    if not isinstance(raw, dict):
        return None, document, [Finding("holds no model", "write keys and values, starting with `name:`", Place(file))]
    try:
        return ModelSpec.model_validate(raw), document, []
    except ValidationError as error:
        return None, document, [_finding(document, problem) for problem in error.errors()]


def _finding(document: yaml_tree.Document, problem: ErrorDetails) -> Finding:
    path = problem["loc"]
    place = document.place(path)
    key = ".".join(map(str, path))
    last = str(path[-1]) if path else ""
    match problem["type"]:
        case "extra_forbidden":
            remedy = remedy_for(last, _fields(path[:-1]), _REMEDY)
            return Finding("unknown key", remedy, place, key, problem["input"])
        case "missing":
            return Finding("is missing", f"add {last}: it has no default", place, key)
        case "string_pattern_mismatch" if last in _PATTERNS:
            text, remedy = _PATTERNS[last]
            return Finding(text, remedy, place, key, problem["input"])
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return Finding(message, _REMEDY, place, key, problem["input"])


def _fields(path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that may stand at a path of a model file."""
    model: type[BaseModel] = ModelSpec
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        nested = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)
