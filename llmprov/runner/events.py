"""Ansible's events as typed values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

NOTHING: Mapping[str, object] = MappingProxyType({})


class Kind(StrEnum):
    """What an event says."""

    PLAY = "play"
    """A play begins; `stage` and `play` are set."""
    PLAY_END = "play_end"
    """A play is over; `hosts` are those that came through it."""
    TASK = "task"
    """A task begins on the play's hosts."""
    START = "start"
    """A host begins a task."""
    RESULT = "result"
    """A host ended a task; `status`, `seconds` and `message` are set."""
    OUTPUT = "output"
    """A warning or an error of Ansible itself, in `message`."""


class Status(StrEnum):
    """How a task ended on a host."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    IGNORED = "ignored"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """One event of a run.

    Attributes:
        seconds: how long the host took for the task.
        message: for failures what the module said; for output its text.
        returned: what the module returned, `{"censored": ...}` under `no_log`; only for results.
        hosts: only for `PLAY_END`.
        delegated_to: the hosts where a delegated task really ran, joined by commas; empty for all others, and where
            Ansible does not say (skipped, `no_log`).
    """

    kind: Kind
    stage: str = ""
    play: str = ""
    host: str = ""
    role: str = ""
    task: str = ""
    action: str = ""
    status: Status | None = None
    seconds: float = 0.0
    message: str = ""
    returned: Mapping[str, object] = field(default=NOTHING, repr=False)
    hosts: tuple[str, ...] = ()
    delegated_to: str = ""


_RESULTS = {
    "runner_on_ok": Status.OK,
    "runner_on_failed": Status.FAILED,
    "runner_on_async_failed": Status.FAILED,
    "runner_on_skipped": Status.SKIPPED,
    "runner_on_unreachable": Status.UNREACHABLE,
}
_KINDS = {"playbook_on_play_start": Kind.PLAY, "playbook_on_task_start": Kind.TASK, "runner_on_start": Kind.START}
_ERROR_LINES = 12
_MARKS = ("error", "[error", "fatal", "e: ")
_LAST_LINES = 5
_OUTPUT = ("error", "system_warning", "warning", "verbose")


def parse(raw: Mapping[str, object], stages: Mapping[str, str]) -> RunEvent | None:
    """Read one of ansible-runner's events; None when it says nothing that llmprov uses.

    Args:
        raw: the event as ansible-runner gives it.
        stages: stage by play name.
    """
    name = str(raw.get("event", ""))
    data = _mapping(raw.get("event_data"))
    play = str(data.get("play", data.get("name", "")))
    where = RunEvent(
        kind=Kind.RESULT,
        play=play,
        stage=stages.get(play, ""),
        host=str(data.get("host", "")),
        role=str(data.get("role", "")),
        task=str(data.get("task", "")),
        action=str(data.get("task_action", "")),
    )
    if name in _RESULTS:
        return _result(_RESULTS[name], data, where)
    if name in _KINDS:
        return replace(where, kind=_KINDS[name])
    if name in _OUTPUT and raw.get("stdout"):
        return RunEvent(kind=Kind.OUTPUT, message=str(raw["stdout"]), task=name)
    return None


def _result(status: Status, data: Mapping[str, object], where: RunEvent) -> RunEvent:
    returned = _mapping(data.get("res"))
    if status is Status.OK and returned.get("changed"):
        status = Status.CHANGED
    if status is Status.FAILED and data.get("ignore_errors"):
        status = Status.IGNORED
    bad = status in (Status.FAILED, Status.IGNORED, Status.UNREACHABLE)
    seconds = data.get("duration")
    return replace(
        where,
        status=status,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        message=failure_message(returned) if bad else "",
        returned=returned,
        delegated_to=",".join(dict.fromkeys(_delegates(returned))),
    )


def _delegates(returned: Mapping[str, object]) -> Iterator[str]:
    """Yield where a delegated task ran; each item of a loop has its own."""
    if name := _mapping(returned.get("_ansible_delegated_vars")).get("ansible_delegated_host"):
        yield str(name)
    items = returned.get("results")
    for item in items if isinstance(items, list) else ():
        yield from _delegates(_mapping(item))


def failure_message(returned: Mapping[str, object]) -> str:
    """What a failed module said: its message, the failing item's, or the end of what its command wrote."""
    if "censored" in returned:
        return "its output is hidden (no_log)"
    items = returned.get("results")
    failed = (
        [item for item in items if isinstance(item, Mapping) and item.get("failed")] if isinstance(items, list) else []
    )
    if failed:
        return "; ".join(f"{_item(entry)}{failure_message(entry)}" for entry in failed)
    message = str(returned.get("msg", "")).strip()
    for stream in ("stderr", "module_stderr", "stdout", "module_stdout"):
        said = _end_of(str(returned.get(stream, "")))
        if said and said not in message:
            return f"{message.rstrip('.')}: {said}" if message else said
    return message or "it gave no message"


def _end_of(text: str) -> str:
    """What a program said last: from its first error on where it marks them, else its last few lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [number for number, line in enumerate(lines) if line.strip().lower().startswith(_MARKS)]
    return "\n".join(lines[marked[0] :][:_ERROR_LINES] if marked else lines[-_LAST_LINES:])


def _item(entry: Mapping[str, object]) -> str:
    item = entry.get("item")
    return f"{item}: " if isinstance(item, str | int) else ""


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else NOTHING
