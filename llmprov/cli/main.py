"""The `llmprov` command: assembles the verbs and turns errors into messages and exit codes."""

import sys
from typing import Annotated

import click
import typer

from llmprov import __version__
from llmprov.cli import bundle, lab
from llmprov.errors import ExitCode, LlmprovError
from llmprov.report.console import print_error

app = typer.Typer(
    name="llmprov",
    help="From bare GPU servers to a resilient LLM service, offline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(lab.app, name="lab")
app.add_typer(bundle.app, name="bundle")


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
    """Run the command line; every expected failure ends in one message, a remedy and a documented exit code."""
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
    except LlmprovError as error:
        if debug:
            raise
        print_error(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        if debug:
            raise
        print_error(LlmprovError("interrupted", remedy="run the same command again; it goes on where it stopped"))
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(code or 0)
