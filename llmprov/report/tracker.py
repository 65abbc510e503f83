"""The state behind every progress display: which steps run, inside which, since when.

A step's parent is the step that its caller is in. Threads see the step of the context they were started with; a plain
thread starts at the top.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_current: ContextVar["Node | None"] = ContextVar("llmprov_progress_step", default=None)


@dataclass(eq=False)
class Node:
    """One step on display.

    Attributes:
        started, ended: seconds on the monotonic clock; `ended` is None while the step runs.
        done, total: position in the caller's unit; `total` is None when unknown.
    """

    name: str
    detail: str = ""
    parent: "Node | None" = None
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    failed: bool = False
    done: int | None = None
    total: int | None = None
    shown_at: float = 0.0
    children: list["Node"] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """How many steps this one is inside of."""
        return 0 if self.parent is None else self.parent.depth + 1

    @property
    def seconds(self) -> float:
        """How long the step has run."""
        return (time.monotonic() if self.ended is None else self.ended) - self.started

    @property
    def position(self) -> str:
        """`3/7`, `41%`, or nothing: small counts as they are, large ones (bytes) as a share."""
        if self.done is None:
            return ""
        if not self.total:
            return str(self.done)
        largest_count = 999
        return f"{self.done}/{self.total}" if self.total <= largest_count else f"{100 * self.done // self.total}%"


class NodeStep:
    """What a caller holds while its step runs."""

    def __init__(self, progress: "TrackingProgress", node: Node) -> None:
        self._progress = progress
        self._node = node

    def update(self, detail: str = "", *, done: int | None = None, total: int | None = None) -> None:
        """Say where the step is; an empty detail keeps the last one."""
        with self._progress.lock:
            self._node.detail = detail or self._node.detail
            self._node.done = self._node.done if done is None else done
            self._node.total = self._node.total if total is None else total
            self._progress.on_update(self._node)


class TrackingProgress:
    """A `Progress` that keeps the tree of running steps and shows nothing; displays override the `on_` methods.

    The `on_` methods run with the lock held.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.roots: list[Node] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the display."""

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[NodeStep]:
        """Open a step inside the one the caller is in."""
        node = self._begin(name, detail)
        token = _current.set(node)
        try:
            yield NodeStep(self, node)
        except BaseException:
            node.failed = True
            raise
        finally:
            _current.reset(token)
            self._end(node)

    def note(self, message: str) -> None:
        """Say one line that belongs to no step."""
        with self.lock:
            self.on_note(message)

    def on_begin(self, node: Node) -> None:
        """A step began."""

    def on_update(self, node: Node) -> None:
        """A step has a new detail or position."""

    def on_end(self, node: Node) -> None:
        """A step ended."""

    def on_note(self, message: str) -> None:
        """A line that belongs to no step."""

    def _begin(self, name: str, detail: str) -> Node:
        node = Node(name, detail, parent=_current.get())
        with self.lock:
            (node.parent.children if node.parent else self.roots).append(node)
            self.on_begin(node)
        return node

    def _end(self, node: Node) -> None:
        with self.lock:
            node.ended = time.monotonic()
            (node.parent.children if node.parent else self.roots).remove(node)
            self.on_end(node)
