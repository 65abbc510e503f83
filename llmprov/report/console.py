"""The two streams: results go to standard output, everything else to standard error."""

from rich.console import Console

from llmprov.errors import LlmprovError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(error: LlmprovError) -> None:
    """Print what is wrong, every finding, and the remedy."""
    err.print(f"[bold red]error:[/] {_plain(error.message)}")
    for line in error.details:
        err.print(f"  - {_plain(line)}")
    if error.remedy:
        err.print(f"[bold]remedy:[/] {_plain(error.remedy)}")


def print_raw(text: str) -> None:
    """Print what another program wrote, as it is, beside progress."""
    err.print(text, markup=False)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
