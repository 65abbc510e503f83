"""The command line's promise: one message, a remedy, a documented exit code, and no traceback without --debug."""

import signal
import sys

import pytest
import typer

from llmprov.cli import main as cli
from llmprov.errors import BundleError, ExitCode


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["llmprov", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The application with a verb `fail` that raises what `error` holds."""
    app = typer.Typer()
    app.callback()(cli.root)
    monkeypatch.setattr(cli, "app", app)
    return app


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == ExitCode.OK
    assert capsys.readouterr().out.startswith("llmprov ")


@pytest.mark.parametrize("arguments", [("no-such-verb",), ("lab", "up", "--hosts", "many")])
def test_usage_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *arguments) == ExitCode.USAGE
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert "remedy: see --help" in printed


def test_no_arguments_print_the_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("Usage: ")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (BundleError("no bundle [here]", remedy="build it", details=("a", "b")), ExitCode.BUNDLE, "no bundle [here]"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted"),
        (ValueError("odd"), ExitCode.INTERNAL, "internal error: ValueError: odd"),
    ],
)
def test_every_failure_is_a_message_and_a_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raising: typer.Typer,
    error: BaseException,
    code: ExitCode,
    message: str,
) -> None:
    @raising.command()
    def fail() -> None:
        raise error

    assert run(monkeypatch, "fail") == code
    printed = capsys.readouterr().err
    assert message in printed
    assert "remedy: " in printed
    assert "Traceback" not in printed


def test_a_second_ctrl_c_does_not_break_off_the_ending(monkeypatch: pytest.MonkeyPatch, raising: typer.Typer) -> None:
    ended: list[str] = []

    @raising.command()
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            ended.append("all")

    try:
        assert run(monkeypatch, "work") == ExitCode.INTERRUPTED
        assert ended == ["all"]
        # Until the process is gone: printing the message and exiting take their time, too.
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_without_ctrl_c_nothing_about_it_changes(monkeypatch: pytest.MonkeyPatch, raising: typer.Typer) -> None:
    @raising.command()
    def work() -> None:
        """Do nothing."""

    assert run(monkeypatch, "work") == ExitCode.OK
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, raising: typer.Typer) -> None:
    @raising.command()
    def fail() -> None:
        raise ValueError("odd")

    monkeypatch.setattr(sys, "argv", ["llmprov", "--debug", "fail"])
    with pytest.raises(ValueError, match="odd"):
        cli.main()
