"""What Ansible says while it reads an inventory, as findings.

To Ansible a source that it cannot parse is a row of warnings, one for each plugin that tried; here it is one error.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from llmprov.inventory.findings import Finding, Place

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ATTEMPT = re.compile(r"Failed to parse inventory with '(?P<plugin>[^']+)' plugin: (?P<reason>.*)", re.DOTALL)
_REASON_END = re.compile(r" Failed to parse inventory with '| <<< caused by >>>| Origin: ")
_GIVEN_UP = re.compile(r"Unable to parse (?P<file>.+?) as an inventory source$")
_FOUND = re.compile(r", found [\"']<class '[\w.]*?_?Ansible(?:Tagged)?(?P<type>\w+)'>[\"'] instead")
_REMEDY = "write it as docs/inventory.md shows, or move the file out of the inventory's directory"


@contextlib.contextmanager
def caught() -> Iterator[list[str]]:
    """Catch the warnings and errors that Ansible would print; the list is filled when the context ends."""
    messages: list[str] = []
    stream = io.StringIO()
    try:
        with contextlib.redirect_stderr(stream), contextlib.redirect_stdout(stream):
            yield messages
    finally:
        text = _COLOUR.sub("", stream.getvalue())
        parts = re.split(r"\[(?:WARNING|ERROR|DEPRECATION WARNING)\]:", text)[1:]
        messages += [" ".join(part.split()) for part in parts]


def findings(messages: list[str]) -> Iterator[Finding]:
    """Turn messages into findings: one error for each source that was given up, a warning for what is left."""
    attempts: dict[str, str] = {}
    for message in messages:
        if attempt := _ATTEMPT.match(message):
            attempts[attempt["plugin"]] = _REASON_END.split(attempt["reason"])[0]
        elif given_up := _GIVEN_UP.search(message):
            file = Path(given_up["file"])
            yield Finding(f"is no inventory: {_reason(file, attempts)}", _REMEDY, Place(file))
            attempts = {}
        elif "No inventory was parsed" not in message:
            yield Finding(message, "see Ansible's documentation of this message", warning=True)


def _reason(file: Path, attempts: dict[str, str]) -> str:
    preferred = "yaml" if file.suffix in {".yml", ".yaml", ".json"} else "ini"
    reason = attempts.get(preferred) or next(iter(attempts.values()), "no inventory plugin can read it")
    return _FOUND.sub(lambda match: f", found a {match['type'].lower()}", reason).rstrip(".")
