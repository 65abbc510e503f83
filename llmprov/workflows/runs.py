"""Past runs, read from their journals; nothing is changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from llmprov.errors import ExitCode, LlmprovError
from llmprov.holders import Process
from llmprov.run_history import Counts, Delegated, Outcome, PhaseRow, Run, RunDetails, TaskRow
from llmprov.runner.journal import FILE_NAME, runs_dir

LAST = "last"
_OK = frozenset({"ok", "ignored", "changed"})
_FAILED = frozenset({"failed", "unreachable"})


class NoSuchRunError(LlmprovError):
    """There is no run of that name, or more than one."""

    exit_code = ExitCode.USAGE


class _Event(BaseModel):
    """The fields of a journal's line that are used here, whatever its event."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event: str
    time: datetime
    verb: str = ""
    inventory: str = ""
    pid: int = 0
    process_started: int = 0
    machine: str = ""
    boot: str = ""
    ok: bool | int = 0
    error: str = ""
    name: str = ""
    started: float = 0.0
    seconds: float = 0.0
    beside: bool = False
    host: str = ""
    stage: str = ""
    role: str = ""
    task: str = ""
    status: str = ""
    message: str = ""
    delegated_to: str = ""
    changed: int = 0
    failed: int = 0


@dataclass(frozen=True)
class _Journal:
    path: Path
    events: tuple[_Event, ...]
    problems: tuple[str, ...]

    def of(self, event: str) -> tuple[_Event, ...]:
        return tuple(entry for entry in self.events if entry.event == event)

    @property
    def run_id(self) -> str:
        return self.path.parent.name


def runs() -> tuple[Run, ...]:
    """Return all runs whose journals are kept, the newest first."""
    return tuple(_run(_read(path)) for path in reversed(_journals()))


def show(name: str, *, slowest: int = 5) -> RunDetails:
    """Return one run.

    Args:
        name: its id, the beginning of it when no other begins so, or `last`.
        slowest: how many of the slowest tasks to name.

    Raises:
        NoSuchRunError: there is none, or more than one.
    """
    journal = _read(_find(name))
    tasks = tuple(_task(event) for event in journal.of("result"))
    return RunDetails(
        run=_run(journal),
        phases=_phases(journal),
        counts=_counts(tasks),
        failures=tuple(task for task in tasks if task.status in _FAILED and task.host in _stopped(journal)),
        delegated=_delegated(tasks),
        slowest=tuple(sorted(tasks, key=lambda task: task.seconds, reverse=True)[:slowest]),
    )


def _journals() -> list[Path]:
    directory = runs_dir()
    return sorted(directory.glob(f"*/{FILE_NAME}")) if directory.is_dir() else []


def _find(name: str) -> Path:
    paths = _journals()
    if not paths:
        raise NoSuchRunError(
            f"there are no runs in {runs_dir()}", remedy="runs of another user or LLMPROV_STATE_DIR are elsewhere"
        )
    if name == LAST:
        return paths[-1]
    found = [path for path in paths if path.parent.name.startswith(name)]
    exact = [path for path in found if path.parent.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise NoSuchRunError(f"there is no run {name}", remedy="list them: llmprov runs")
    raise NoSuchRunError(
        f"{len(found)} runs begin with {name!r}",
        remedy="give more of the id",
        details=tuple(path.parent.name for path in found),
    )


def _read(path: Path) -> _Journal:
    """Read all that can be read; a last line that a crash cut short is none of the problems: the end lacks anyway."""
    events, problems = [], []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            events.append(_Event.model_validate_json(line))
        except ValidationError as error:
            problems.append(f"line {number} cannot be read: {error.errors()[0]['msg']}")
    return _Journal(path, tuple(events), tuple(problems))


def _run(journal: _Journal) -> Run:
    start = next(iter(journal.of("start")), None)
    end = next(iter(journal.of("end")), None)
    began = start.time if start else _began(journal)
    outcome = _outcome(start, end)
    return Run(
        id=journal.run_id,
        verb=start.verb if start else journal.run_id.partition("-")[2].rpartition("-")[0],
        inventory=start.inventory if start else "",
        began=began,
        outcome=outcome,
        message=end.error if end else "",
        seconds=end.seconds if end else _seconds(journal, began, outcome),
        hosts=tuple(dict.fromkeys(event.host for event in journal.events if event.event in {"result", "host"})),
        changed=_changed(journal),
        journal=journal.path,
        problems=journal.problems,
    )


def _outcome(start: _Event | None, end: _Event | None) -> Outcome:
    if end is not None:
        return Outcome.OK if end.ok else Outcome.FAILED
    if start is None or not start.pid:  # written before journals named their process
        return Outcome.UNKNOWN
    process = Process(start.machine, start.boot, start.pid, start.process_started)
    if process.gone or process.of_earlier_boot:
        return Outcome.KILLED
    return Outcome.RUNNING if process.visible else Outcome.UNKNOWN


def _began(journal: _Journal) -> datetime:
    """Tell the beginning of a run whose first line is missing: by its next one, else by its id."""
    if journal.events:
        return journal.events[0].time
    try:
        return datetime.strptime(journal.run_id.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(journal.path.stat().st_mtime, UTC)


def _seconds(journal: _Journal, began: datetime, outcome: Outcome) -> float:
    last = datetime.now(UTC) if outcome is Outcome.RUNNING else max((e.time for e in journal.events), default=began)
    return max(0.0, (last - began).total_seconds())


def _changed(journal: _Journal) -> int:
    """Count changes: by Ansible's own counts, which know what `no_log` hides, and by task where it came to none."""
    counted = journal.of("host")
    known = {event.host for event in counted}
    uncounted = [e for e in journal.of("result") if e.status == "changed" and e.host not in known]
    return sum(event.changed for event in counted) + len(uncounted)


def _stopped(journal: _Journal) -> frozenset[str]:
    """Return the hosts that did not come through: those with failures that Ansible counts, or without any count."""
    counted = journal.of("host")
    known = {event.host for event in counted}
    failed = {event.host for event in counted if event.failed}
    return frozenset(failed | {event.host for event in journal.of("result") if event.host not in known})


def _phases(journal: _Journal) -> tuple[PhaseRow, ...]:
    rows = (
        PhaseRow(name=event.name, started=event.started, seconds=event.seconds, beside=event.beside)
        for event in journal.of("phase")
    )
    return tuple(sorted(rows, key=lambda row: row.started))


def _task(event: _Event) -> TaskRow:
    return TaskRow(
        host=event.host,
        stage=event.stage,
        role=event.role,
        task=event.task,
        status=event.status,
        seconds=event.seconds,
        message=event.message,
        delegated_to=event.delegated_to,
    )


def _counts(tasks: Sequence[TaskRow]) -> tuple[Counts, ...]:
    found: dict[tuple[str, str], Counts] = {}
    for task in tasks:
        key = (task.stage, task.host)
        before = found.get(key, Counts(host=task.host, stage=task.stage))
        found[key] = replace(
            before,
            ok=before.ok + (task.status in _OK),
            changed=before.changed + (task.status == "changed"),
            skipped=before.skipped + (task.status == "skipped"),
            failed=before.failed + (task.status in _FAILED),
            seconds=before.seconds + task.seconds,
        )
    stages = list(dict.fromkeys(stage for stage, _ in found))
    return tuple(sorted(found.values(), key=lambda row: stages.index(row.stage)))


def _delegated(tasks: Iterable[TaskRow]) -> tuple[Delegated, ...]:
    found: dict[str, Delegated] = {}
    for task in tasks:
        for host in filter(None, task.delegated_to.split(",")):
            if host == task.host:
                continue
            before = found.get(host, Delegated(host=host, count=0, changed=0, seconds=0.0))
            found[host] = replace(
                before,
                count=before.count + 1,
                changed=before.changed + (task.status == "changed"),
                seconds=before.seconds + task.seconds,
            )
    return tuple(found.values())
