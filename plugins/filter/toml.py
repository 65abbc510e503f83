"""Filter `to_toml`: settings of a program that reads TOML stay dictionaries in Ansible."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")


def _key(key: str) -> str:
    # A JSON string is a valid TOML basic string.
    return key if _BARE_KEY.match(key) else json.dumps(key)


def _value(value: Any) -> str:  # noqa: ANN401 - the data is the user's
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise AnsibleFilterError(f"to_toml: TOML has no value for {value!r} ({type(value).__name__})")


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Return the lines of one table: its own values first, then its sub-tables."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = []
    if path and (plain or not tables):
        lines += ["", f"[{'.'.join(_key(part) for part in path)}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in tables.items():
        lines += _table(value, (*path, key))
    return lines


def to_toml(data: Mapping[str, Any]) -> str:
    """Return a mapping as a TOML document; keys keep their order, None is refused."""
    if not isinstance(data, Mapping):
        raise AnsibleFilterError(f"to_toml: a document is a dictionary, not {type(data).__name__}")
    return "\n".join(_table(data, ())).lstrip("\n") + "\n"


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"to_toml": to_toml}
