"""The `llmprov` command: assembles the verbs and turns errors into messages and exit codes."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from llmprov import __version__
from llmprov.cli.verbs import HELP_OPTIONS, Verbs
from llmprov.errors import ExitCode, LlmprovError
from llmprov.report.console import print_error

app = typer.Typer(
    name="llmprov",
    cls=Verbs,
    help="From bare GPU servers to a resilient LLM service, offline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP_OPTIONS,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"llmprov {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and Ansible's own output.")] = False,
    version: Annotated[  # noqa: ARG001 - acted on by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that every verb shares."""
    ctx.obj = {"debug": debug}


def main() -> None:
    """Run the command line; every failure ends in one message, a remedy and a documented exit code."""
    try:
        with _one_interrupt():
            code = app(standalone_mode=False) or ExitCode.OK
        if code == ExitCode.INTERRUPTED:  # typer turned the interrupt into a code
            raise KeyboardInterrupt  # noqa: TRY301
        sys.exit(code)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in sys.argv:
            raise
        failure = _explain(error)
        if failure.message.startswith("Usage:"):  # called without arguments: the help is the answer
            typer.echo(failure.message, err=True)
        else:
            print_error(failure)
        sys.exit(failure.exit_code)


@contextmanager
def _one_interrupt() -> Iterator[None]:
    """Let Ctrl-C count once: a second one would break off the ending of what runs, and leave it behind."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # whoever started this has it ignore Ctrl-C, or handles it
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt:  # else one has come: the process is on its way out
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _explain(error: BaseException) -> LlmprovError:
    if isinstance(error, LlmprovError):
        return error
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        failure = LlmprovError("interrupted", remedy="run the same command again; it goes on where it stopped")
        failure.exit_code = ExitCode.INTERRUPTED
    elif isinstance(error, TyperException):
        failure = LlmprovError(error.format_message(), remedy="see --help")
        failure.exit_code = ExitCode(error.exit_code)
    else:
        failure = LlmprovError(
            f"internal error: {type(error).__name__}: {error}",
            remedy="this is a defect of llmprov; please report it with the output of the same command with --debug",
        )
    return failure
