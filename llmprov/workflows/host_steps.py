"""Shows a run of a playbook as steps: one a host and stage, saying the task the host is at."""

from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from dataclasses import dataclass

from llmprov.errors import InstallError
from llmprov.progress import Progress, Step
from llmprov.runner import Kind, RunEvent, Status
from llmprov.workflows.phases import Phases

_BAD = (Status.FAILED, Status.UNREACHABLE)


@dataclass(frozen=True)
class _Open:
    """A host's running step. It lives in a context of its own, so that steps of other hosts do not nest in it."""

    label: str
    manager: AbstractContextManager[Step]
    step: Step
    context: Context


class HostSteps:
    """Takes the events of one run, in one thread; also times each play as a phase."""

    def __init__(self, progress: Progress, phases: Phases) -> None:
        self._progress = progress
        self._phases = phases
        self._open: dict[str, _Open] = {}
        self._play_started = 0.0
        self._had_hosts = False

    def take(self, event: RunEvent) -> None:
        """Take one event."""
        match event.kind:
            case Kind.PLAY:
                self._play_started = self._phases.seconds
                self._had_hosts = False
            case Kind.START:
                self._had_hosts = True
                self._at(event.host, label(event)).step.update(event.task)
            case Kind.RESULT if event.status in _BAD:
                self._close(event.host, failed=True)
            case Kind.PLAY_END:
                self._end_play(event)
            case Kind.OUTPUT if event.task != "verbose":
                self._progress.note(event.message)
            case _:
                pass

    def close(self) -> None:
        """End what is still open: the run was stopped."""
        for host in list(self._open):
            self._close(host, failed=True)

    def _at(self, host: str, name: str) -> _Open:
        running = self._open.get(host)
        if running is not None and running.label == name:
            return running
        if running is not None:
            self._close(host)
        manager = self._progress.step(f"{host} {name}")
        context = copy_context()
        step = context.run(manager.__enter__)
        self._open[host] = _Open(name, manager, step, context)
        return self._open[host]

    def _end_play(self, event: RunEvent) -> None:
        for host in list(self._open):
            self._close(host)
        if not self._had_hosts:
            return  # --tags or --limit left the whole play out
        started = self._play_started
        self._phases.add(label(event), started, self._phases.seconds - started)

    def _close(self, host: str, *, failed: bool = False) -> None:
        running = self._open.pop(host, None)
        if running is None:
            return
        error = InstallError("failed") if failed else None
        running.context.run(running.manager.__exit__, type(error) if error else None, error, None)


def label(event: RunEvent) -> str:
    """Name the part of the work that an event belongs to: its stage, or its play where that is no stage."""
    named = event.stage and event.stage not in ("always", "never")
    return event.stage.replace("_", " ") if named else event.play.lower()
