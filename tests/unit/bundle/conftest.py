"""Servers, a store, and a progress that remembers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmprov.bundle.store import BlobStore
from llmprov.progress import NullStep
from tests.unit.bundle.servers import Registry, Web, registry_server, web_server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test servers are here, whatever proxy the machine has."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as site:
        yield site


@pytest.fixture
def registry() -> Iterator[Registry]:
    with registry_server() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "cache" / "blobs")


@dataclass
class RecordingProgress:
    """Remembers the names of steps and the notes."""

    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[NullStep]:  # noqa: ARG002 - the protocol's names
        """Remember the name."""
        self.steps.append(name)
        yield NullStep()

    def note(self, message: str) -> None:
        """Remember the note."""
        self.notes.append(message)


@pytest.fixture
def progress() -> RecordingProgress:
    return RecordingProgress()
