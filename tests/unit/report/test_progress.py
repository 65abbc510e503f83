"""Progress: what each style writes, how steps nest, and that threads may use it at once."""

import contextvars
import io
import json
import threading

import pytest
from rich.console import Console

from llmprov.errors import LlmprovError
from llmprov.report import progress
from llmprov.report.live import LiveProgress
from llmprov.report.plain import JsonProgress, PlainProgress
from llmprov.report.progress import Style
from llmprov.report.tracker import TrackingProgress


def _console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, height=20, color_system=None)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _plain(console: Console) -> list[str]:
    return [line.split(" ", 1)[1] for line in _text(console).splitlines()]


def test_plain_lines_name_the_path_and_the_end() -> None:
    console = _console()
    with (
        progress.open(Style.PLAIN, console=console) as steps,
        steps.step("install"),
        steps.step("cp1", "base") as inner,
    ):
        inner.update("[bold]not markup", done=1, total=2)
        steps.note("falling back")
    lines = _plain(console)
    assert lines[0] == "install: started"
    assert lines[1] == "install / cp1: base"
    assert lines[2] == "note: falling back"
    assert lines[3].startswith("install / cp1: done (")
    assert lines[4].startswith("install: done (")


def test_plain_updates_are_rationed(monkeypatch: pytest.MonkeyPatch) -> None:
    console = _console()
    steps = PlainProgress(console)
    with steps.step("pull") as step:
        for count in range(50):
            step.update(f"layer {count}")
        monkeypatch.setattr("llmprov.report.plain.QUIET_SECONDS", 0.0)
        step.update("last", done=2000, total=4000)
    assert [line for line in _plain(console) if "layer" in line] == []
    assert "pull: last 50%" in _plain(console)


def test_a_failed_step_says_so_in_every_style() -> None:
    plain, as_json, live = _console(), _console(), _console(terminal=True)
    for steps in (PlainProgress(plain), JsonProgress(as_json), LiveProgress(live)):
        with pytest.raises(ValueError, match="boom"), steps, steps.step("join"):
            raise ValueError("boom")
    assert "join: failed (" in _text(plain)
    assert json.loads(_text(as_json).splitlines()[-1])["failed"] is True
    assert "✗ join" in _text(live)


def test_json_lines_carry_positions() -> None:
    console = _console()
    with progress.open(Style.JSON, console=console) as steps:
        with steps.step("push") as step:
            step.update("vllm", done=1, total=3)
        steps.note("one line")
    events = [json.loads(line) for line in _text(console).splitlines()]
    assert [event["event"] for event in events] == ["begin", "update", "end", "note"]
    assert (events[1]["done"], events[1]["total"], events[1]["detail"]) == (1, 3, "vllm")


def test_silent_writes_nothing() -> None:
    console = _console()
    with progress.open(Style.SILENT, console=console) as steps, steps.step("x") as step:
        step.update("y")
        steps.note("z")
    assert _text(console) == ""


def test_live_draws_running_steps_and_leaves_lines() -> None:
    console = _console(terminal=True)
    with LiveProgress(console) as steps, steps.step("install"):
        with steps.step("gpu1", "runtime") as step:
            step.update("Unpack containerd", done=3, total=6)
            drawn = _console()
            drawn.print(steps.render())
        steps.note("mitogen is not usable")
    assert "gpu1" in _text(drawn)
    assert "3/6" in _text(drawn)
    assert "Unpack containerd" in _text(drawn)
    assert "✓   gpu1" in _text(console)
    assert "! mitogen is not usable" in _text(console)


def test_live_draws_no_more_than_the_terminal_holds() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=5)
    steps = LiveProgress(console)
    with steps.step("a"), steps.step("b"), steps.step("c"), steps.step("d"), steps.step("e"):
        drawn = _console()
        drawn.print(steps.render())
    assert len(_text(drawn).splitlines()) == 3


def test_threads_started_in_a_context_nest_below_it() -> None:
    steps = TrackingProgress()
    seen: list[int] = []
    both = threading.Barrier(2, timeout=5)

    def work(name: str) -> None:
        with steps.step(name):
            both.wait()
            seen.append(len(steps.roots[0].children))
            both.wait()

    with steps.step("all"):
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(work, name)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [2, 2]
    assert steps.roots == []


def test_style_comes_from_the_terminal_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv(progress.STYLE_VARIABLE, raising=False)
    with progress.open(console=_console(terminal=True)) as steps:
        assert isinstance(steps, LiveProgress)
    monkeypatch.setenv("CI", "true")
    with progress.open(console=_console(terminal=True)) as steps:
        assert isinstance(steps, PlainProgress)
    monkeypatch.setenv(progress.STYLE_VARIABLE, "json")
    with progress.open(console=_console(terminal=True)) as steps:
        assert isinstance(steps, JsonProgress)
    monkeypatch.setenv(progress.STYLE_VARIABLE, "loud")
    with pytest.raises(LlmprovError, match="loud") as caught, progress.open(console=_console()):
        pass
    assert "live" in caught.value.remedy
