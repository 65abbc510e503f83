"""Reads and rebuilds nested objects without changing them in place."""

from collections.abc import Mapping

from llmprov.manifests.render import Manifest


def child(parent: Mapping[str, object], key: str) -> Manifest:
    """The mapping under a key; an empty one when there is none."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[Manifest]:
    """A list of mappings; empty when there is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    """A list of strings; empty when there is none."""
    return [str(item) for item in value] if isinstance(value, list) else []


def replaced(parent: Mapping[str, object], path: tuple[str, ...], value: object) -> Manifest:
    """A copy with another value at a path whose mappings exist."""
    key, *rest = path
    return {**parent, key: replaced(child(parent, key), tuple(rest), value) if rest else value}


def merged(target: Mapping[str, object], patch: Mapping[str, object]) -> Manifest:
    """Apply a JSON merge patch (RFC 7386)."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merged(child(target, key), value)
        else:
            result[key] = value
    return result


def moved(value: object, namespace: str, was: str) -> object:
    """Put another namespace wherever a `namespace` field has the old one, and into names like `service.old.svc`."""
    if isinstance(value, dict):
        return {
            key: namespace if key == "namespace" and item == was else moved(item, namespace, was)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [moved(item, namespace, was) for item in value]
    return value.replace(f".{was}.svc", f".{namespace}.svc") if isinstance(value, str) else value
