"""An operator beside whom there is no other, for tests of what operators do; the lock itself has tests of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.workflows import operating


class Alone:
    """Has the cluster to itself."""

    def check(self) -> None:
        """Go on."""


def work_alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every verb be the only one at work; return the verbs that asked to be, as they do."""
    asked: list[str] = []

    @contextmanager
    def only_operator(_inventory: Inventory, verb: str, _run: str, _progress: Progress) -> Iterator[Alone]:
        asked.append(verb)
        yield Alone()

    monkeypatch.setattr(operating, "only_operator", only_operator)
    return asked
