"""Progress as lines: for logs, CI and programs."""

import json
import time
from datetime import UTC, datetime

from rich.console import Console

from llmprov.report.tracker import Node, TrackingProgress

QUIET_SECONDS = 10.0
"""A running step says where it is at most this often."""


class PlainProgress(TrackingProgress):
    """Timestamped lines: one when a step begins, one when it ends, and now and then one in between."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def on_begin(self, node: Node) -> None:
        """Say that the step began."""
        node.shown_at = time.monotonic()
        self._line(_path(node), node.detail or "started")

    def on_update(self, node: Node) -> None:
        """Say where the step is, unless it said so a moment ago."""
        now = time.monotonic()
        if now - node.shown_at >= QUIET_SECONDS:
            node.shown_at = now
            self._line(_path(node), " ".join(filter(None, (node.detail, node.position))))

    def on_end(self, node: Node) -> None:
        """Say how the step ended and how long it took."""
        self._line(_path(node), f"{'failed' if node.failed else 'done'} ({node.seconds:.1f} s)")

    def on_note(self, message: str) -> None:
        """Say the line."""
        self._line("note", message)

    def _line(self, name: str, text: str) -> None:
        stamp = datetime.now(UTC).strftime("%H:%M:%S")
        self._console.print(f"{stamp} {name}: {text}", markup=False, highlight=False)


class JsonProgress(TrackingProgress):
    """One JSON object a line: `time`, `event` (begin, update, end, note), `step` (its path) and what is known."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def on_begin(self, node: Node) -> None:
        """Write a `begin` event."""
        self._event("begin", step=_path(node), detail=node.detail)

    def on_update(self, node: Node) -> None:
        """Write an `update` event, at most one a second for each step."""
        now = time.monotonic()
        if now - node.shown_at >= 1.0:
            node.shown_at = now
            self._event("update", step=_path(node), detail=node.detail, done=node.done, total=node.total)

    def on_end(self, node: Node) -> None:
        """Write an `end` event with the seconds and whether the step failed."""
        self._event("end", step=_path(node), seconds=round(node.seconds, 3), failed=node.failed)

    def on_note(self, message: str) -> None:
        """Write a `note` event."""
        self._event("note", detail=message)

    def _event(self, event: str, **fields: object) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": stamp, "event": event, **fields}, ensure_ascii=False)
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _path(node: Node) -> str:
    return node.name if node.parent is None else f"{_path(node.parent)} / {node.name}"
