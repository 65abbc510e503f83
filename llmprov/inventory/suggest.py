"""“Did you mean”: the nearest known name to a mistyped one."""

import difflib
from collections.abc import Iterable


def remedy_for(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return `did you mean X?` when a known name is near enough, else the other remedy."""
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
    return f"did you mean {nearest[0]}?" if nearest else otherwise


def near(name: str, known: Iterable[str]) -> str:
    """Return the known name that this one is most likely a slip of, or nothing."""
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.85)
    return nearest[0] if nearest else ""
