"""How long work is shown: a live display on a terminal, plain lines elsewhere, JSON lines for programs, or nothing.

A verb opens one progress for its whole run and hands it to its workflow:

    with progress.open() as steps:
        workflow.run(..., progress=steps)

Everything goes to standard error, so that standard output holds the result alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from rich.console import Console

from llmprov.errors import LlmprovError
from llmprov.report import console as streams
from llmprov.report.live import LiveProgress
from llmprov.report.plain import JsonProgress, PlainProgress
from llmprov.report.tracker import TrackingProgress

STYLE_VARIABLE = "LLMPROV_PROGRESS"


class Style(StrEnum):
    """How progress is shown."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    SILENT = "silent"


@contextmanager
def open(style: Style = Style.AUTO, *, console: Console | None = None) -> Iterator[TrackingProgress]:  # noqa: A001 - read as progress.open
    """Show progress until the context ends.

    Args:
        style: `AUTO` shows a live display on a terminal and plain lines otherwise (a pipe, CI); the environment
            variable `LLMPROV_PROGRESS` overrides it.
        console: where to; standard error when not given.
    """
    target = console or streams.err
    with _make(_resolve(style, target), target) as progress:
        yield progress


def _resolve(style: Style, console: Console) -> Style:
    if style is not Style.AUTO:
        return style
    if wanted := os.environ.get(STYLE_VARIABLE, ""):
        if wanted not in [item.value for item in Style]:
            raise LlmprovError(
                f"{STYLE_VARIABLE} is {wanted!r}", remedy=f"set it to one of {', '.join(Style)}, or unset it"
            )
        if wanted != Style.AUTO:
            return Style(wanted)
    return Style.LIVE if console.is_terminal and not os.environ.get("CI") else Style.PLAIN


def _make(style: Style, console: Console) -> TrackingProgress:
    match style:
        case Style.LIVE:
            return LiveProgress(console)
        case Style.JSON:
            return JsonProgress(console)
        case Style.SILENT:
            return TrackingProgress()
        case _:
            return PlainProgress(console)
