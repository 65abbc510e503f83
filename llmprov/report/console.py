"""The two streams: results go to standard output, everything else to standard error."""

from rich.console import Console
from rich.markup import escape

from llmprov.errors import LlmprovError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(error: LlmprovError) -> None:
    """Print what is wrong, every finding, and the remedy."""
    err.print(f"[bold red]error:[/] {escape(error.message)}")
    for line in error.details:
        err.print(f"  - {escape(line)}")
    if error.remedy:
        err.print(f"[bold]remedy:[/] {escape(error.remedy)}")


def print_raw(text: str) -> None:
    """Print what another program wrote, as it is, beside progress."""
    err.print(text, markup=False)
