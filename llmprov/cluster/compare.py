"""Whether an object in the cluster is as a manifest wants it: pure, and careful.

What cannot be proved equal counts as different; the API then says what becomes of it. So defaults, additions of others
and normal forms (`0.5` that the API writes as `500m`) never hide a change.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from llmprov.cluster.client import FIELD_MANAGER, Object

APPLIED = "llmprov.io/applied"
"""Annotation: the digest of the manifest as it was applied."""

# The API drops these of what is applied.
_OF_THE_API = frozenset({"status"})
# These say which object it is; nobody owns them.
_IDENTITY = frozenset({"apiVersion", "kind"})
_NAMES = frozenset({"name", "namespace", "creationTimestamp"})


def digest(manifest: Object) -> str:
    """Return the sha256 of a manifest's values."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, default=str).encode()).hexdigest()


def marked(manifest: Object) -> Object:
    """Return a manifest with its own digest on it, as it is applied."""
    return with_metadata(manifest, "annotations", {APPLIED: digest(manifest)})


def with_metadata(manifest: Object, field: str, values: Mapping[str, str]) -> Object:
    """Return a manifest with more labels or annotations."""
    metadata = _mapping(manifest["metadata"])
    return {**manifest, "metadata": {**metadata, field: {**_mapping(metadata.get(field) or {}), **values}}}


def in_sync(wanted: Object, live: Object) -> bool:
    """Tell whether applying a manifest would certainly change nothing.

    That is so when the object was made from this very manifest, each of its fields still has the value and is still
    llmprov's own. The last also finds what others put into lists that have one owner as a whole.

    Args:
        wanted: a manifest, marked with its digest.
        live: the object, with the API's record of who owns which field.
    """
    if _mark(wanted) != _mark(live):
        return False
    body = _body(wanted)
    return covers(body, live) and any(owns(fields, body) for fields in _owned(live))


def covers(wanted: object, live: object) -> bool:
    """Tell whether every value of `wanted` is in `live`: mappings may have more there, lists must be as long.

    The API leaves empty texts out.
    """
    if wanted is None or (wanted == "" and live is None):
        return live is None
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(covers(value, live.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return (
            isinstance(live, list | tuple)
            and len(wanted) == len(live)
            and all(covers(one, other) for one, other in zip(wanted, live, strict=True))
        )
    return _same(wanted, live)


def owns(fields: Mapping[str, object], value: object) -> bool:
    """Tell whether a record of owned fields (FieldsV1) has everything that a value names."""
    if not fields:
        return True  # a leaf, or a mapping or list that has one owner as a whole
    if isinstance(value, Mapping):
        return all(_owns_child(fields, f"f:{key}", child) for key, child in value.items() if child is not None)
    if isinstance(value, list | tuple):
        return all(_owns_entry(fields, child) for child in value)
    return False


def differences(before: object, after: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield path and both values of every leaf that differs; None where there is none.

    Entries of a list are told apart by their names where all have one, else by their numbers.
    """
    old, new = _children(before), _children(after)
    if old is None or new is None or isinstance(before, Mapping) != isinstance(after, Mapping):
        # What comes or goes whole is told whole.
        if not _same(before, after):
            yield path, before, after
        return
    for key in dict.fromkeys((*old, *new)):
        step = (f".{key}" if path else key) if isinstance(before, Mapping) else f"[{key}]"
        yield from differences(old.get(key), new.get(key), path + step)


def _same(one: object, other: object) -> bool:
    # True is 1 in Python, and not in JSON.
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _children(value: object) -> Mapping[str, object] | None:
    """The parts of a mapping or a list; None of anything else."""
    if isinstance(value, Mapping):
        return {str(key): child for key, child in value.items()}
    if isinstance(value, list | tuple):
        names = [str(child["name"]) for child in value if isinstance(child, Mapping) and "name" in child]
        unique = len(set(names)) == len(value)
        return dict(zip(names if unique else map(str, range(len(value))), value, strict=True))
    return None


def _owns_child(fields: Mapping[str, object], key: str, child: object) -> bool:
    found = fields.get(key)
    return isinstance(found, Mapping) and owns(found, child)


def _owns_entry(fields: Mapping[str, object], child: object) -> bool:
    if not isinstance(child, Mapping):
        return any(key.startswith("v:") and json.loads(key.removeprefix("v:")) == child for key in fields)
    return any(
        isinstance(value, Mapping) and owns(value, child)
        for key, value in fields.items()
        if key.startswith("k:") and _is_entry(json.loads(key.removeprefix("k:")), child)
    )


def _is_entry(keys: Mapping[str, object], child: Mapping[str, object]) -> bool:
    """Whether the key of a list's entry is that of a value; what the value leaves out has its default in the key."""
    return all(child.get(name, value) == value for name, value in keys.items())


def _owned(live: Object) -> list[Mapping[str, object]]:
    entries = cast("Sequence[Mapping[str, object]]", _mapping(live["metadata"]).get("managedFields") or ())
    return [
        _mapping(entry.get("fieldsV1") or {})
        for entry in entries
        if entry.get("manager") == FIELD_MANAGER
        and entry.get("operation") == "Apply"
        and not entry.get("subresource")
        and entry.get("fieldsV1")
    ]


def _body(wanted: Object) -> Object:
    """What of a manifest can be owned and compared."""
    metadata = {key: value for key, value in _mapping(wanted["metadata"]).items() if key not in _NAMES}
    kept = {key: value for key, value in wanted.items() if key not in _OF_THE_API | _IDENTITY}
    return {**kept, "metadata": metadata}


def _mark(item: Object) -> object:
    return _mapping(_mapping(item["metadata"]).get("annotations") or {}).get(APPLIED)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"not a mapping: {value}")
    return value
