"""What a further worker costs: the pull of its own image, and how much beside it.

    python -m tests.bench.node_add                  # a lab of its own: two workers are installed, a third one is added
    python -m tests.bench.node_add --journal FILE   # reads the journal of an addition that has been

Ends with exit code 1 when the goal was missed, or when something was done on a host that is not new.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from llmprov import paths
from llmprov.inventory import load
from llmprov.report.console import out
from llmprov.runner.journal import read
from llmprov.workflows.install_images import pulls
from tests.bench.controller import run

LAB = "bench-add"
SUBNET = "10.77.54.0/24"
NEW = "gpu3"
GOAL = 30.0
"""Seconds beside the pull."""
JOINING = frozenset(
    (
        "Create a join token",
        "Read the cluster's authority",
        "Look for the node that this host was",
        "Wait until the nodes are Ready",
    )
)
"""What the joining of a host asks of the first control plane."""


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", type=Path, help="of an addition that has been")
    given = parser.parse_args()
    if given.journal:
        return 0 if show(tuple(read(given.journal))) else 1
    with tempfile.TemporaryDirectory() as directory:
        return 0 if _fresh(Path(directory) / "inventory") else 1


def show(events: Iterable[Mapping[str, object]], later: float = 0.0) -> bool:
    """Print what an addition took and where it did something; say whether the goal was reached.

    Args:
        events: of the journal.
        later: seconds of a pull that was still going on when the addition had ended, and is not in the journal.
    """
    events = tuple(events)
    whole, pull = (
        max((float(str(event["seconds"])) for event in events if event["event"] == kind), default=0.0)
        for kind in ("end", "pull")
    )
    pull = pull or later
    beside = max(whole - pull, 0.0)
    away = tasks_elsewhere(events, NEW)
    here = sum(event["event"] == "result" for event in events) - len(away)
    others = [f"{host}: {task}" for host, task in away if task not in JOINING]
    out.print(f"{here} tasks on {NEW}, {len(away) - len(others)} of its joining elsewhere")
    out.print(f"{len(others)} other tasks on other hosts: {', '.join(others) or 'none'}")
    out.print(f"whole run {whole:.1f} s, pull {pull:.1f} s, beside it {beside:.1f} s (goal: at most {GOAL:.0f})")
    return pull > 0 and beside <= GOAL and not others


def tasks_elsewhere(events: Iterable[Mapping[str, object]], new: str) -> list[tuple[str, str]]:
    """Return the tasks that ran on other hosts than a new one, with the host on which each really ran."""
    ran = (
        (str(event.get("delegated_to") or event["host"]), str(event["task"]))
        for event in events
        if event["event"] == "result"
    )
    return [(host, task) for host, task in ran if host != new]


def _fresh(inventory: Path) -> bool:
    where = ("-i", str(inventory))
    try:
        _llmprov("lab", "up", "--name", LAB, "--hosts", "4", "--subnet", SUBNET, "--inventory", str(inventory))
        _llmprov("install", *where, "--limit", f"all:!{NEW}")
        before = set(_installs())
        began = time.monotonic()
        added = json.loads(_llmprov("node", "add", NEW, *where, "--json"))
        out.print(f"{added['hosts']} in {time.monotonic() - began:.1f} s, with the start of the command")
        later = _pulled(inventory, within=time.monotonic() - began)
        (journal,) = set(_installs()) - before
        return show(tuple(read(journal)), later)
    finally:
        _llmprov("lab", "destroy", "--name", LAB)


def _pulled(inventory: Path, *, within: float) -> float:
    """Wait until the new host has pulled everything, for which an addition does not; return the longest pull."""
    began = time.monotonic()
    run(["ssh", "-F", str(inventory / "ssh.cfg"), NEW, "sudo systemctl start llmprov-prepull.service"])
    found = pulls([load(inventory).host(NEW)], within=within + time.monotonic() - began)
    return max((pulled.seconds for pulled in found), default=0.0)


def _installs() -> Iterable[Path]:
    return (paths.state_dir() / "runs").glob("*-install-*/journal.jsonl")


def _llmprov(*arguments: str) -> str:
    return run([sys.executable, "-m", "llmprov", *arguments]).stdout


if __name__ == "__main__":
    sys.exit(main())
