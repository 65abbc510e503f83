"""Turns the stream of a run's events into journal lines, a listener's calls and, at the end, outcomes."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from llmprov.runner import failures
from llmprov.runner.events import Kind, RunEvent, Status, parse
from llmprov.runner.journal import Journal
from llmprov.runner.result import HostOutcome


class Collector:
    """Takes ansible-runner's raw events, one at a time, in one thread.

    Args:
        stages: stage by play name.
        collect: tasks or modules whose results are kept.
        on_event: called for every event, after it is in the journal.
    """

    def __init__(
        self,
        journal: Journal,
        stages: Mapping[str, str],
        collect: Collection[str],
        on_event: Callable[[RunEvent], None],
    ) -> None:
        self._journal = journal
        self._stages = stages
        self._collect = collect
        self._on_event = on_event
        self._hosts: dict[str, HostOutcome] = {}
        self._play: RunEvent | None = None
        self._in_play: dict[str, None] = {}
        self.collected: list[RunEvent] = []
        self.output: list[str] = []

    @property
    def outcomes(self) -> tuple[HostOutcome, ...]:
        """How every host seen so far came through."""
        return tuple(self._hosts.values())

    def take(self, raw: Mapping[str, object]) -> None:
        """Take one raw event."""
        if raw.get("event") == "playbook_on_stats":
            self._settle(raw)
        event = parse(raw, self._stages)
        if event is None:
            return
        if event.kind is Kind.PLAY:
            self.end_play()
            self._play = event
            self._journal.record("play", stage=event.stage, play=event.play)
        elif event.kind is Kind.RESULT:
            self._result(event)
        elif event.kind is Kind.OUTPUT and event.task != "verbose":
            self._output(event)
        elif event.kind is Kind.OUTPUT:
            self.output.append(event.message)
            return
        self._on_event(event)

    def warn(self, message: str) -> None:
        """Pass on a warning of llmprov's own."""
        event = RunEvent(kind=Kind.OUTPUT, task="warning", message=message)
        self._output(event)
        self._on_event(event)

    def end_play(self) -> None:
        """Say that the running play is over; the run's end says it for the last one."""
        if self._play is None:
            return
        through = tuple(host for host in self._in_play if self._hosts[host].failure is None)
        event = replace(self._play, kind=Kind.PLAY_END, hosts=through)
        self._journal.record("play_end", stage=event.stage, play=event.play, hosts=",".join(through))
        self._play = None
        self._in_play = {}
        self._on_event(event)

    def _result(self, event: RunEvent) -> None:
        self._journal.record(
            "result",
            host=event.host,
            delegated_to=event.delegated_to or None,
            stage=event.stage or None,
            role=event.role or None,
            task=event.task,
            status=str(event.status),
            seconds=round(event.seconds, 3),
            message=event.message or None,
        )
        outcome = self._hosts.get(event.host, HostOutcome(event.host))
        self._hosts[event.host] = _counted(outcome, event)
        self._in_play[event.host] = None
        if event.task in self._collect or event.action in self._collect:
            self.collected.append(event)

    def _output(self, event: RunEvent) -> None:
        self.output.append(event.message)
        self._journal.record("output", level=event.task, message=event.message)

    def _settle(self, raw: Mapping[str, object]) -> None:
        """Let Ansible's own counts decide: they know rescued failures, and changes that `no_log` hides."""
        counts = raw.get("event_data")
        if not isinstance(counts, Mapping):
            return
        for host, outcome in self._hosts.items():
            ok, changed, skipped, failed, dark = (
                _count(counts, key, host) for key in ("ok", "changed", "skipped", "failures", "dark")
            )
            failure = outcome.failure if failed or dark else None
            self._hosts[host] = HostOutcome(host, ok, changed, skipped, failed, bool(dark), failure)
            self._journal.record("host", host=host, ok=ok, changed=changed, skipped=skipped, failed=failed + dark)


def _count(counts: Mapping[str, object], key: str, host: str) -> int:
    by_host = counts.get(key)
    value = by_host.get(host, 0) if isinstance(by_host, Mapping) else 0
    return value if isinstance(value, int) else 0


def _counted(outcome: HostOutcome, event: RunEvent) -> HostOutcome:
    match event.status:
        case Status.OK | Status.IGNORED:
            return replace(outcome, ok=outcome.ok + 1)
        case Status.CHANGED:
            return replace(outcome, ok=outcome.ok + 1, changed=outcome.changed + 1)
        case Status.SKIPPED:
            return replace(outcome, skipped=outcome.skipped + 1)
        case Status.UNREACHABLE:
            return replace(outcome, unreachable=True, failure=failures.from_event(event))
        case _:
            return replace(outcome, failed=outcome.failed + 1, failure=failures.from_event(event))
