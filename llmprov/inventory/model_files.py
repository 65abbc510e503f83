"""Reads `models/*.yml`: one model a file, every error with its line."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from llmprov.inventory.findings import Finding, Place
from llmprov.inventory.model_spec import ModelSpec
from llmprov.inventory.source import MODELS


def read_models(path: Path) -> tuple[tuple[ModelSpec, ...], list[Finding]]:
    """Return the valid models beside the hosts file, and what is wrong with the others."""
    directory = (path if path.is_dir() else path.parent) / MODELS
    models: list[ModelSpec] = []
    findings: list[Finding] = []
    for file in sorted([*directory.glob("*.yml"), *directory.glob("*.yaml")]):
        model, found = read_model(file.absolute())
        findings += found
        models += [model] if model else []
    return tuple(models), findings


def read_model(file: Path) -> tuple[ModelSpec | None, list[Finding]]:
    """Read one model file."""
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    try:
        return ModelSpec.model_validate(raw), []
    except ValidationError as error:
        return None, [
            Finding(problem["msg"], "see docs/inventory.md", Place(file), ".".join(map(str, problem["loc"])))
            for problem in error.errors()
        ]
