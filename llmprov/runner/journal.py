"""The journal of a run: one JSON object a line, appended as things happen, readable while the run goes on.

It says which host did which task of which stage, how it ended and how long it took. It never holds the value of a
variable or a module's arguments and results; a failure's message is what Ansible shows, `no_log` respected.
"""

import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from llmprov import paths
from llmprov.errors import LlmprovError
from llmprov.holders import Process

FILE_NAME = "journal.jsonl"
RUNS_KEPT = 100


class Journal:
    """An append-only journal in a directory of its own, `<state>/runs/<id>/`, which only its owner may read.

    Attributes:
        run_id: sorts by time: `20260131T090000Z-install-1a2b3c`.
        directory: where the journal is; the run's private files go there too while it lasts.
    """

    def __init__(self, run_id: str, directory: Path) -> None:
        self.run_id = run_id
        self.directory = directory
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The journal file."""
        return self.directory / FILE_NAME

    @classmethod
    def create(cls, name: str) -> "Journal":
        """Start the journal of a new run called `name`; the oldest runs beyond the last hundred are removed."""
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name}-{secrets.token_hex(3)}"
        directory = runs_dir() / run_id
        try:
            runs_dir().mkdir(parents=True, exist_ok=True, mode=0o700)
            directory.mkdir(mode=0o700)
        except OSError as error:
            raise LlmprovError(
                f"cannot make the run's directory {directory}: {error.strerror}",
                remedy="make it writable, or set LLMPROV_STATE_DIR to a directory that is",
            ) from error
        _prune(runs_dir())
        return cls(run_id, directory)

    def record(self, event: str, **fields: str | float | bool | Mapping[str, int] | None) -> None:
        """Append one event; fields that are None are left out."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        known = {key: value for key, value in fields.items() if value is not None}
        line = json.dumps({"time": stamp, "run": self.run_id, "event": event, **known}, ensure_ascii=False)
        with self._lock:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "a", encoding="utf-8") as stream:
                stream.write(line + "\n")

    @contextmanager
    def whole_run(self, verb: str, inventory: Path | None = None) -> Iterator[None]:
        """Record the beginning of a verb and how it ended; errors pass through.

        Args:
            verb: what is done.
            inventory: of the cluster, as the user gave it.
        """
        began = time.monotonic()
        me = Process.current()
        self.record(
            "start",
            verb=verb,
            inventory=None if inventory is None else str(inventory),
            # Whether a run without an end still goes on is told by its process.
            pid=me.pid,
            process_started=me.started,
            machine=me.machine,
            boot=me.boot,
        )
        try:
            yield
        except BaseException as error:
            self._end(verb, began, f"{error}" or type(error).__name__)
            raise
        self._end(verb, began, None)

    def _end(self, verb: str, began: float, error: str | None) -> None:
        self.record("end", verb=verb, ok=error is None, seconds=round(time.monotonic() - began, 3), error=error)


def runs_dir() -> Path:
    """Where the runs of this user are kept."""
    return paths.state_dir() / "runs"


def read(path: Path) -> Iterator[dict[str, object]]:
    """Yield a journal's events; a last line cut short by a crash is left out."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.endswith("\n"):
                yield json.loads(line)


def _prune(directory: Path) -> None:
    runs = sorted(entry for entry in directory.iterdir() if (entry / FILE_NAME).is_file())
    for old in runs[:-RUNS_KEPT]:
        with suppress(FileNotFoundError):  # another run may be pruning too
            shutil.rmtree(old)
