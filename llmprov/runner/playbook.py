"""Runs a playbook through ansible-runner, in a fresh private directory that is gone afterwards.

ansible-runner writes what it is given to disk (environment, events with module results) and loads what it finds there.
So each run gets an empty directory with mode 0700, takes what it needs from memory, and leaves only the journal.
"""

import json
import os
import shlex
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from ansible_runner.interface import init_runner

from llmprov.errors import InstallError
from llmprov.runner import environment, processes
from llmprov.runner.collector import Collector
from llmprov.runner.events import RunEvent
from llmprov.runner.journal import Journal
from llmprov.runner.result import RunResult

INTERRUPT_SECONDS = 2.0
"""How long Ansible has to stop by itself after Ctrl-C."""
MEASURE_SECONDS = 2.0
POLL_SECONDS = 0.5
"""How often ansible-runner asks whether to stop; events come as they happen."""


def _ignore(event: RunEvent) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a playbook is run.

    Attributes:
        limit: host pattern, as `--limit`.
        tags: only plays and tasks with these tags.
        extra_vars: variables over all others; never secrets.
        check, diff: Ansible's `--check` and `--diff`.
        forks: how many hosts are worked on at once.
        verbosity: 0 to 4, as `-v`.
        collect: names of tasks or modules whose results are kept in `RunResult.collected`.
        strategy: `linear` turns mitogen off for this run.
    """

    limit: str = ""
    tags: tuple[str, ...] = ()
    extra_vars: Mapping[str, object] = field(default_factory=dict)
    check: bool = False
    diff: bool = False
    forks: int = 20
    verbosity: int = 0
    collect: Collection[str] = ()
    strategy: str = ""


def run(
    playbook: Path,
    inventory: Path,
    options: Options | None = None,
    *,
    journal: Journal | None = None,
    on_event: Callable[[RunEvent], None] = _ignore,
    on_output: Callable[[str], None] | None = None,
    stop: Sequence[threading.Event] = (),
) -> RunResult:
    """Run a playbook and wait for its end.

    May be called from several threads at once. Ctrl-C in the main thread, or one of `stop` being set, ends Ansible and
    everything it started, then raises `KeyboardInterrupt`.

    Args:
        playbook: the playbook file.
        inventory: an inventory directory or file.
        options: see `Options`.
        journal: where to journal; a new one named after the playbook when not given.
        on_event: called for every event in a thread of the run's own, in the caller's context.
        on_output: gets Ansible's own output, line by line.
        stop: any of these, when set, ends the run from elsewhere.

    Raises:
        KeyboardInterrupt: the run was stopped.
        InstallError: ansible-playbook cannot be started.
    """
    options = options or Options()
    journal = journal or Journal.create(playbook.stem)
    collector = Collector(journal, stages_by_play(playbook), options.collect, on_event)
    with tempfile.TemporaryDirectory(prefix="ansible-", dir=journal.directory) as private:
        running = _Run(Path(private), collector, on_output, stop)
        started = time.monotonic()
        rc = running.complete(_command(playbook, inventory, options, Path(private)), options)
    return RunResult(
        rc=rc,
        seconds=time.monotonic() - started,
        hosts=collector.outcomes,
        collected=tuple(collector.collected),
        output=tuple(line for text in collector.output for line in text.splitlines() if line.strip()),
        journal=journal.path,
        peak_memory=running.peak_memory,
    )


def stages_by_play(playbook: Path) -> dict[str, str]:
    """Read the stage of each play: the play's first tag.

    Raises:
        InstallError: the playbook cannot be read.
    """
    try:
        plays = yaml.safe_load(playbook.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InstallError(f"cannot read playbook {playbook}: {error}", remedy="reinstall llmprov") from error
    return {play["name"]: _first_tag(play) for play in plays or [] if isinstance(play, dict) and "name" in play}


def _first_tag(play: Mapping[str, object]) -> str:
    tags = play.get("tags")
    return str(tags[0]) if isinstance(tags, list) and tags else str(tags or "")


class _Run:
    """One ansible-playbook, from start to nothing left of it."""

    def __init__(
        self,
        private: Path,
        collector: Collector,
        on_output: Callable[[str], None] | None,
        stop: Sequence[threading.Event],
    ) -> None:
        self._private = private
        self._collector = collector
        self._on_output = on_output
        self._interrupted = threading.Event()
        self._stop = (*stop, self._interrupted)
        self._measured_at = 0.0
        self.peak_memory = 0

    def complete(self, command: list[str], options: Options) -> int:
        """Run in a thread, so that Ctrl-C reaches this one while it waits; return ansible-playbook's status."""
        outcome: Future[int] = Future()

        def work() -> None:
            try:
                outcome.set_result(self._execute(command, options))
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread as it is
                outcome.set_exception(error)

        thread = threading.Thread(target=copy_context().run, args=(work,), name="ansible", daemon=True)
        thread.start()
        try:
            # A wait without end would not notice a signal that another thread received.
            while not wait({outcome}, timeout=POLL_SECONDS).done and not self._stopped:
                pass
        except KeyboardInterrupt:
            self._interrupted.set()
        self._end()
        if self._stopped:
            thread.join()
            raise KeyboardInterrupt
        return outcome.result()

    @property
    def _stopped(self) -> bool:
        return any(event.is_set() for event in self._stop)

    def _end(self) -> None:
        """End what runs: Ansible by an interrupt while its output is still read, then whatever outlives it."""
        processes.interrupt(self._private, seconds=INTERRUPT_SECONDS)
        processes.end(self._private)

    def _execute(self, command: list[str], options: Options) -> int:
        config = self._private / "ansible.cfg"
        config.write_text("[defaults]\n", encoding="utf-8")
        runner = init_runner(
            private_data_dir=str(self._private),
            binary=command[0],
            cmdline=shlex.join(command[1:]),
            suppress_env_files=True,
            quiet=True,
            event_handler=self._take,
            cancel_callback=self._measure,
        )
        # As `settings` these would be lost: ansible-runner forgets them when it finds no file of its own.
        runner.config.pexpect_timeout = POLL_SECONDS
        runner.config.suppress_output_file = True
        strategy = environment.choose_strategy(options.strategy)
        if strategy.note:
            self._collector.warn(strategy.note)
        base = {**os.environ, processes.MARK: str(self._private)}
        runner.config.env = _runner_keys(runner.config.env) | environment.build(
            base, config, strategy, forks=options.forks
        )
        runner.run()
        self._collector.end_play()
        return int(runner.rc)

    def _take(self, raw: dict[str, object]) -> bool:
        if self._on_output is not None and raw.get("stdout"):
            self._on_output(str(raw["stdout"]))
        self._collector.take(raw)
        return False  # nothing of an event is written to disk

    def _measure(self) -> bool:
        """Called every half second, to ask whether to stop; stopping is done elsewhere, so it only measures memory."""
        now = time.monotonic()
        if now - self._measured_at >= MEASURE_SECONDS:
            self._measured_at = now
            self.peak_memory = max(self.peak_memory, processes.memory(self._private))
        return False


def _runner_keys(env: Mapping[str, str]) -> dict[str, str]:
    """Keep what ansible-runner's own callback plugin needs."""
    names = (
        "ANSIBLE_CALLBACK_PLUGINS",
        "ANSIBLE_STDOUT_CALLBACK",
        "ANSIBLE_RETRY_FILES_ENABLED",
        "AWX_ISOLATED_DATA_DIR",
    )
    return {key: value for key, value in env.items() if key in names or key.startswith("RUNNER_")}


def _command(playbook: Path, inventory: Path, options: Options, private: Path) -> list[str]:
    command = ["ansible-playbook", "-i", str(inventory.resolve())]
    if options.limit:
        command += ["--limit", options.limit]
    if options.tags:
        command += ["--tags", ",".join(options.tags)]
    if options.check:
        command.append("--check")
    if options.diff:
        command.append("--diff")
    if options.verbosity:
        command.append("-" + "v" * options.verbosity)
    if options.extra_vars:
        variables = private / "extra_vars.json"
        variables.write_text(json.dumps(dict(options.extra_vars)), encoding="utf-8")
        command += ["--extra-vars", f"@{variables}"]
    return [*command, str(playbook.resolve())]
