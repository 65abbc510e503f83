"""JSON Schemas for editors: of model files, and of the variables that roles specify."""

from collections.abc import Mapping

from llmprov.inventory.model_spec import ModelSpec
from llmprov.inventory.variables import OWN_PREFIX, VAULT_PREFIX, role_specs

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}


def model_schema() -> dict[str, object]:
    """Return the JSON Schema of a file in `models/`."""
    return {"$schema": _DIALECT, **ModelSpec.model_json_schema(), "title": "llmprov model"}


def cluster_schema() -> dict[str, object]:
    """Return the JSON Schema of `group_vars/*.yml` and `host_vars/*.yml`: every role variable."""
    return {
        "$schema": _DIALECT,
        "title": "llmprov variables",
        "type": "object",
        "properties": {name: _property(spec) for name, spec in sorted(role_specs().items())},
        "patternProperties": {f"^({OWN_PREFIX}|{VAULT_PREFIX}|ansible_)": {}},
        "additionalProperties": False,
    }


def _property(spec: Mapping[str, object]) -> dict[str, object]:
    kind = _TYPES.get(str(spec.get("type", "str")), "string")
    wanted: dict[str, object] = {"type": kind}
    if choices := spec.get("choices"):
        wanted["enum"] = choices
    if elements := spec.get("elements"):
        wanted["items"] = {"type": _TYPES.get(str(elements), "string")}
    # Any value may be a template, which is text until Ansible resolves it.
    template = {"type": "string", "pattern": r"\{\{"}
    description = spec.get("description", "")
    text = " ".join(map(str, description)) if isinstance(description, list) else str(description)
    return {"description": text, "anyOf": [wanted, template]}
