"""What it costs to find out that nothing is to be done: `plan`, a second `install`, and plain Ansible beside them.

    python -m tests.bench.second_run                           # a lab of 3 hosts of its own: everything is installed
    python -m tests.bench.second_run --hosts 100               # hosts with SSH alone: the stage that needs nothing else
    python -m tests.bench.second_run --inventory inventories/lab   # hosts that are installed already

Plain Ansible is `ansible-playbook` with the plays of playbooks/install.yml for the same stages and hosts, and Ansible's
own settings: strategy linear, 5 forks, no pipelining; its ansible.cfg names nothing but the directories of roles and
plugins. It does the hosts' stages alone, where `plan` and `install` also look at the registry and Kubernetes' objects.
All are measured in one run, on machines of any speed. Ends with exit code 1 when a goal was missed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.table import Table

from llmprov import paths
from llmprov.inventory import load as load_inventory
from llmprov.report.console import out
from llmprov.runner.environment import script_dirs
from llmprov.stages import STAGES, stages_until
from tests.bench.controller import peak_memory, run

LAB = "second-run"
SUBNET = "10.77.52.0/24"
FEW = 10
"""Up to so many hosts the goals of a small rack hold, and a lab's hosts are installed whole."""
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Goals:
    """Seconds and bytes at most; how many times faster than plain Ansible at least."""

    plan: float
    install: float
    times_faster: float = 5.0
    memory: int = 500 * MEGABYTE


@dataclass(frozen=True)
class Costs:
    """What was measured; seconds, and bytes at their most."""

    plan: float
    install: float
    ansible: float
    memory: int

    def misses(self, goals: Goals) -> list[str]:
        """Return the goals that were missed, one line each."""
        found = {
            f"plan takes {self.plan:.1f} s, not {goals.plan:.0f} at most": self.plan > goals.plan,
            f"install takes {self.install:.1f} s, not {goals.install:.0f} at most": self.install > goals.install,
            f"install is {self.ansible / self.install:.1f} times faster than plain Ansible, not {goals.times_faster}": (
                self.ansible < goals.times_faster * self.install
            ),
            f"the controller needs {self.memory / MEGABYTE:.0f} MB, not {goals.memory / MEGABYTE:.0f} at most": (
                self.memory > goals.memory
            ),
        }
        return [line for line, missed in found.items() if missed]


def goals_for(hosts: int) -> Goals:
    """Return the goals for a number of hosts."""
    return Goals(plan=4.0, install=5.0) if hosts <= FEW else Goals(plan=30.0, install=30.0)


def measure(inventory: Path, until: str, repeat: int) -> Costs:
    """Measure on hosts on which nothing is to be done; of `plan` and `install` the median of several runs."""
    where = ["-i", str(inventory), *(["--until", until] if until else [])]
    plan, install = _llmprov("plan", *where, "--detailed-exitcode"), _llmprov("install", *where, "--json")
    times: dict[str, list[float]] = {"plan": [], "install": []}
    for _ in range(repeat):
        times["plan"].append(run(plan).seconds)
        ended = run(install)
        times["install"].append(ended.seconds)
        _refuse_changes(ended.stdout)
    memory = max(peak_memory(plan), peak_memory(install))
    ansible = plain_ansible(inventory, until)
    return Costs(statistics.median(times["plan"]), statistics.median(times["install"]), ansible, memory)


def plain_ansible(inventory: Path, until: str) -> float:
    """Return the seconds that Ansible with its own settings takes for the same stages."""
    with tempfile.TemporaryDirectory() as directory:
        config, playbook = Path(directory) / "ansible.cfg", Path(directory) / "install.yml"
        config.write_text(_configuration(), encoding="utf-8")
        playbook.write_text(yaml.safe_dump(plays(until), sort_keys=False), encoding="utf-8")
        command = ["ansible-playbook", str(playbook), "-i", str(inventory)]
        command += ["--extra-vars", json.dumps({"registry_push": "none"})]
        ended = run(command, environment=_environment(config))
    changed = [line for line in ended.stdout.splitlines() if "changed=" in line and "changed=0" not in line]
    if changed:
        raise RuntimeError("plain Ansible changed something on hosts that are in sync:\n" + "\n".join(changed))
    return ended.seconds


def plays(until: str) -> list[dict[str, object]]:
    """Return the plays of install.yml for the stages: tags would leave the checks of all roles' arguments in."""
    stages = {stage.name for stage in (stages_until(until) if until else STAGES)} | {"always"}
    whole = yaml.safe_load((paths.content_root() / "playbooks" / "install.yml").read_text(encoding="utf-8"))
    return [play for play in whole if stages & set(play["tags"])]


def show(costs: Costs, goals: Goals, what: str) -> bool:
    """Print what was measured and what was aimed at; say whether all goals were reached."""
    table = Table("", "seconds", "goal", "plain Ansible takes", box=None, pad_edge=False, header_style="bold")
    for name, seconds, goal in (
        ("plan", costs.plan, goals.plan),
        ("install, nothing to do", costs.install, goals.install),
    ):
        times = f"{costs.ansible / seconds:.1f} times as long"
        table.add_row(name, f"{seconds:.1f}", f"{goal:.0f}", times)
    table.add_row("ansible-playbook, its own settings", f"{costs.ansible:.1f}", "", "")
    out.print(what)
    out.print(table)
    out.print(f"memory of the controller: {costs.memory / MEGABYTE:.0f} MB (goal: {goals.memory / MEGABYTE:.0f})")
    misses = costs.misses(goals)
    for line in misses:
        out.print(f"missed: {line}")
    return not misses


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=3, help="of the lab that is booted; 3 when left out")
    parser.add_argument("--inventory", type=Path, help="hosts that are there already, and in sync")
    parser.add_argument("--until", help="last stage; all with few hosts, `base` with many")
    parser.add_argument("--repeat", type=int, default=3, help="runs of plan and install, of which the median counts")
    given = parser.parse_args()
    if given.inventory:
        return _measured(given.inventory, given.until or "", given.repeat)
    with booted(given.hosts) as inventory:
        until = given.until or ("" if given.hosts <= FEW else "base")
        run(_llmprov("install", "-i", str(inventory), *(["--until", until] if until else [])))
        return _measured(inventory, until, given.repeat)


@contextmanager
def booted(hosts: int) -> Iterator[Path]:
    """Boot a lab of the benchmark's own; its inventory lasts as long as the context."""
    with tempfile.TemporaryDirectory() as directory:
        inventory = Path(directory) / "inventory"
        try:
            run(_llmprov("lab", "up", "--name", LAB, *_size(hosts, Path(directory)), "--inventory", str(inventory)))
            yield inventory
        finally:
            run(_llmprov("lab", "destroy", "--name", LAB))


def _size(hosts: int, directory: Path) -> Sequence[str]:
    """Describe a lab in a file: `lab up --hosts` takes fewer than are measured here."""
    names = ["cp1", *(f"gpu{number}" for number in range(1, hosts))]
    description = directory / "lab.yml"
    description.write_text(json.dumps({"subnet": SUBNET, "hosts": {name: {} for name in names}}), encoding="utf-8")
    return ("-f", str(description))


def _measured(inventory: Path, until: str, repeat: int) -> int:
    hosts = len(load_inventory(inventory).hosts)
    what = f"{hosts} hosts, {f'stages up to {until}' if until else 'all stages'}, {os.cpu_count()} processors"
    return 0 if show(measure(inventory, until, repeat), goals_for(hosts), what) else 1


def _refuse_changes(printed: str) -> None:
    document = json.loads(printed)
    changed = {host: counts["changed"] for host, counts in document["hosts"].items() if counts["changed"]}
    if changed:
        raise RuntimeError(f"an install that had nothing to do changed something: {changed}")


def _configuration() -> str:
    root = paths.content_root()
    lines = ["[defaults]", f"roles_path = {root / 'roles'}", f"library = {root / 'plugins' / 'modules'}"]
    lines += [f"{kind} = {root / 'plugins' / kind}" for kind in ("module_utils",)]
    lines += [f"{kind}_plugins = {root / 'plugins' / kind}" for kind in ("action", "lookup", "filter")]
    # Model files beside the hosts are no inventory.
    return "\n".join([*lines, "[inventory]", "ignore_patterns = ^models$", ""])


def _environment(config: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    path = os.pathsep.join([*script_dirs(), os.environ.get("PATH", os.defpath)])
    return kept | {"ANSIBLE_CONFIG": str(config), "PATH": path}


def _llmprov(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "llmprov", *arguments]


if __name__ == "__main__":
    sys.exit(main())
