"""How close an install comes to what cannot be avoided: pulling the engine's image and starting the engine.

    python -m tests.bench.install                    # boots a lab of its own, installs twice, asks once, destroys it
    python -m tests.bench.install --journal FILE     # reads the journal of an install that has been

Where a large tree was deleted within the last five minutes, such as an earlier lab, ext4 makes new files slowly, and
the pull takes up to twice as long.

Prints ratios of times within one run, so that machines of different speed can be compared.
Ends with exit code 1 when a goal was missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmprov.report.console import out
from llmprov.runner.journal import read

ANSWER_GOAL = 1.3
GOAL = 1.5  # with gateway, autoscaling, monitoring and two models
SECOND_GOAL = 30.0
"""Seconds of an install that has nothing to do."""
LAB = "bench"
SUBNET = "10.77.50.0/24"


@dataclass(frozen=True)
class Times:
    """Seconds of one install, from its journal; `answer` from the beginning until every model had answered."""

    whole: float
    answer: float
    pull: float
    engine_start: float
    phases: tuple[tuple[str, float, float, bool], ...]

    @property
    def unavoidable(self) -> float:
        """The longest pull and the longest engine start."""
        return self.pull + self.engine_start


def times(events: Iterable[Mapping[str, object]]) -> Times:
    """Read the times of an install from its journal's events."""
    events = tuple(events)
    return Times(
        whole=_longest(events, "end"),
        answer=_longest(events, "answer"),
        pull=_longest(events, "pull"),
        engine_start=_longest(events, "engine_start"),
        phases=tuple(
            (str(event["name"]), _number(event["started"]), _number(event["seconds"]), bool(event.get("beside")))
            for event in events
            if event["event"] == "phase"
        ),
    )


def show(found: Times) -> bool:
    """Print the phases and the ratios; say whether the goals were reached."""
    for name, started, seconds, beside in sorted(found.phases, key=lambda phase: phase[1]):
        out.print(f"{name:32} {started:8.1f} {seconds:8.1f} {'beside' if beside else ''}")
    for name, seconds in (
        ("bare hosts to answer", found.answer),
        ("whole install", found.whole),
        ("longest pull", found.pull),
        ("engine start", found.engine_start),
    ):
        out.print(f"{name:32} {'':8} {seconds:8.1f}")
    if found.unavoidable == 0:
        out.print("no image was pulled and no engine started in this run: no ratio")
        return False
    reached = [
        _ratio("answer", found.answer, found, ANSWER_GOAL),
        _ratio("whole", found.whole, found, GOAL),
    ]
    return all(reached)


def _ratio(name: str, seconds: float, found: Times, goal: float) -> bool:
    ratio = seconds / found.unavoidable
    out.print(f"ratio {ratio:.2f}  ({name} / (pull + engine start); goal: at most {goal})")
    return ratio <= goal


def main() -> int:
    """Measure a fresh install, or read the journal of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", type=Path, help="of an install that has been")
    chosen = parser.parse_args()
    if chosen.journal:
        return 0 if show(times(read(chosen.journal))) else 1
    with tempfile.TemporaryDirectory() as directory:
        return 0 if _fresh(Path(directory) / "inventory") else 1


def _fresh(inventory: Path) -> bool:
    try:
        _llmprov("lab", "up", "--name", LAB, "--hosts", "3", "--subnet", SUBNET, "--inventory", str(inventory))
        first = json.loads(_llmprov("install", "-i", str(inventory), "--json"))
        answer = _llmprov("chat", "smollm2", "What is the capital of France?", "-i", str(inventory))
        second = json.loads(_llmprov("install", "-i", str(inventory), "--json"))
        out.print(f"answer: {answer.strip()}")
        reached = show(times(read(Path(first["journal"]))))
        return _show_second(first, second) and reached
    finally:
        _llmprov("lab", "destroy", "--name", LAB)


def _show_second(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    changed = {host: counts["changed"] for host, counts in second["hosts"].items()}
    seconds, share = second["seconds"], second["seconds"] / first["seconds"]
    out.print(f"second install: {seconds:.1f} s (goal: under {SECOND_GOAL:.0f}), {share:.2f} of the first")
    out.print(f"changed by it: {changed}, objects {second['objects']['changes']}")
    out.print(f"controller memory: {first['controller_peak_memory_bytes'] / 1e6:.0f} MB at most")
    return seconds < SECOND_GOAL and not any(changed.values()) and not second["objects"]["changes"]


def _llmprov(*arguments: str) -> str:
    command = [sys.executable, "-m", "llmprov", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _longest(events: Iterable[Mapping[str, object]], kind: str) -> float:
    return max((_number(event["seconds"]) for event in events if event["event"] == kind), default=0.0)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


if __name__ == "__main__":
    sys.exit(main())
