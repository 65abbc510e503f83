"""What is wrong with an inventory: collected, located, masked and raised at once."""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from llmprov.errors import InventoryError

MASK = "********"
_LONGEST_VALUE = 60
_VAULT = b"$ANSIBLE_VAULT"
_SECRET_KEY = re.compile(
    r"(pass(word|wd|phrase)?|secret|token|credential|api_?key|private_key|webhook)$|(^|_)pass(_|$)", re.IGNORECASE
)
_SECRET_WORDS = ("password", "passwd", "passphrase", "secret", "token", "credential", "credentials")
_SECRET_VALUE = re.compile(
    r"(\$ANSIBLE_VAULT|-----BEGIN |\bhf_[A-Za-z0-9]{8,}|\bsk-[A-Za-z0-9]{8,}|\beyJ[A-Za-z0-9_-]{16,}|://[^/\s:]+:[^@\s]+@)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written: a file and, where known, a line (from 1)."""

    file: Path | None = None
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if self.file is None:
            return ""
        return ":".join([str(self.file), *(str(number) for number in (self.line, self.column) if number)])


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or unwise.

    Args:
        problem: what is wrong, as a clause: `unknown key`.
        remedy: what to do about it.
        place: where it is written.
        key: the key, dotted when nested; empty where no key is meant.
        value: the value seen; masked when it looks like a secret. `None` means that there is none to show.
        warning: true when the inventory can be used all the same.
    """

    problem: str
    remedy: str
    place: Place = field(default_factory=Place)
    key: str = ""
    value: object = None
    warning: bool = False

    def line(self, base: Path | None = None) -> str:
        """Return the finding as one line: place, key, value, problem, remedy."""
        parts = [self._place(base), f"{self.key}{self._value()}".strip(), self.problem]
        return ": ".join(part for part in parts if part) + f" → {self.remedy}"

    def _place(self, base: Path | None) -> str:
        if self.place.file is None or base is None or not self.place.file.is_relative_to(base):
            return str(self.place)
        return str(Place(self.place.file.relative_to(base), self.place.line, self.place.column))

    def _value(self) -> str:
        if self.value is None:
            return ""
        shown = shown_value(self.key, self.value, self.place)
        return f" = {shown}" if self.key else shown


def shown_value(key: str, value: object, place: Place | None = None) -> str:
    """Return a value fit for a message: shortened, and masked when key, look or place says that it is a secret."""
    if place is not None and _is_encrypted(place.file):
        return MASK
    text = value if isinstance(value, str) else repr(value)
    if _names_secret(key.rsplit(".", 1)[-1]) or _SECRET_VALUE.search(text) or _holds_secret(value):
        return MASK
    text = repr(text) if isinstance(value, str) else text
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _is_encrypted(file: Path | None) -> bool:
    """Tell whether a file is one of Ansible Vault: whatever its keys are called, its values are secrets."""
    if file is None or not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(len(_VAULT)) == _VAULT


def _names_secret(key: str) -> bool:
    if key.endswith("_file"):
        return False
    # Mistyped keys are what ends up in messages, so a near miss counts too.
    parts = re.split(r"[_.-]", key.lower())
    near = any(difflib.get_close_matches(part, _SECRET_WORDS, 1, 0.75) for part in parts)
    return near or bool(_SECRET_KEY.search(key))


def _holds_secret(value: object) -> bool:
    if isinstance(value, dict):
        return any(_names_secret(str(key)) or _holds_secret(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return any(_holds_secret(inner) for inner in value)
    return False


def raise_errors(path: Path, findings: list[Finding]) -> None:
    """Raise one `InventoryError` with every error among the findings; warnings alone pass."""
    errors = [finding for finding in findings if not finding.warning]
    if not errors:
        return
    base = path if path.is_dir() else path.parent
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    raise InventoryError(
        f"the inventory {path} has {count}",
        remedy="correct the lines above and run the command again; no host was touched",
        details=tuple(finding.line(base) for finding in errors),
    )
