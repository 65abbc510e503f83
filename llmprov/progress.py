"""How workflows say what they do without printing: `report` implements these protocols, tests use `NullProgress`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One running step of a longer piece of work."""

    def update(self, detail: str = "", *, done: int | None = None, total: int | None = None) -> None:
        """Say where the step is; `done` and `total` share a unit of the caller's choice (bytes, items)."""
        ...


class Progress(Protocol):
    """A sink for steps. Steps may nest and may run in several threads at once."""

    def step(self, name: str, detail: str = "") -> AbstractContextManager[Step]:
        """Open a step; it ends, successfully or not, with the context."""
        ...

    def note(self, message: str) -> None:
        """Say one line that belongs to no step: a fallback taken, a warning."""
        ...


class NullStep:
    """A step nobody watches."""

    def update(self, detail: str = "", *, done: int | None = None, total: int | None = None) -> None:
        """Discard the update."""


class NullProgress:
    """A sink that discards everything."""

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[Step]:  # noqa: ARG002 - the protocol's names
        """Yield a step that discards its updates."""
        yield NullStep()

    def note(self, message: str) -> None:
        """Discard the message."""
