"""Progress on a terminal: running steps redrawn in place, ended steps left behind as lines."""

from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from llmprov.report.tracker import Node, TrackingProgress

KEPT_DEPTH = 1
"""Ended steps this deep are left behind as lines; deeper ones too when they took long or failed."""
LONG_SECONDS = 5.0
REDRAWS_PER_SECOND = 4


class LiveProgress(TrackingProgress):
    """A tree of the running steps with position and seconds, redrawn a few times a second."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._spinners: dict[Node, Spinner] = {}
        self._live = Live(
            console=console,
            get_renderable=self.render,
            refresh_per_second=REDRAWS_PER_SECOND,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop redrawing; the lines of ended steps stay."""
        self._live.stop()

    def on_begin(self, node: Node) -> None:
        """Give the step a spinner."""
        self._spinners[node] = Spinner("dots", style="cyan")

    def on_end(self, node: Node) -> None:
        """Leave a line behind."""
        self._spinners.pop(node, None)
        if node.failed or node.depth <= KEPT_DEPTH or node.seconds >= LONG_SECONDS:
            self._live.console.print(_ended(node))

    def on_note(self, message: str) -> None:
        """Leave the line behind."""
        self._live.console.print(Text.assemble(("! ", "yellow"), message))

    def render(self) -> RenderableType:
        """Draw the running steps, as many as the terminal holds."""
        grid = Table.grid(padding=(0, 1))
        with self.lock:
            nodes = [node for root in self.roots for node in _walk(root)]
            for node in nodes[: max(1, self._console.height - 2)]:
                grid.add_row(*self._row(node))
        return grid

    def _row(self, node: Node) -> tuple[RenderableType, ...]:
        name = Text("  " * node.depth + node.name, style="bold" if node.depth == 0 else "", no_wrap=True)
        bar: RenderableType = ""
        if node.total and node.done is not None:
            bar = ProgressBar(total=node.total, completed=node.done, width=20)
        detail = Text(node.detail, style="dim", no_wrap=True, overflow="ellipsis")
        return (self._spinners[node], name, f"{node.seconds:5.0f} s", node.position, bar, detail)


def _walk(node: Node) -> list[Node]:
    return [node, *(deeper for child in node.children for deeper in _walk(child))]


def _ended(node: Node) -> Text:
    mark, style = ("✗", "red") if node.failed else ("✓", "green")
    return Text.assemble(
        (f"{mark} ", style),
        "  " * node.depth,
        (node.name, "bold" if node.depth == 0 else ""),
        (f"  {node.seconds:.1f} s", "dim"),
    )
