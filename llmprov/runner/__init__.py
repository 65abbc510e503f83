"""Runs playbooks: the only importer of ansible_runner. Events, journal, failures as errors."""

from llmprov.runner.environment import choose_strategy
from llmprov.runner.events import Kind, RunEvent, Status
from llmprov.runner.failures import Cause, Failure
from llmprov.runner.journal import Journal
from llmprov.runner.playbook import Options, run
from llmprov.runner.result import HostOutcome, RunResult

__all__ = [
    "Cause",
    "Failure",
    "HostOutcome",
    "Journal",
    "Kind",
    "Options",
    "RunEvent",
    "RunResult",
    "Status",
    "choose_strategy",
    "run",
]
