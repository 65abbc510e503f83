"""The fastest honest way to ask hosts how they are: one probe each, by plain ssh and by Ansible's strategies.

    python -m tests.bench.transports --hosts 10      # a lab of its own: hosts with SSH alone
    python -m tests.bench.transports --inventory inventories/lab [--install]

Every way runs the same code on the hosts, reads the inventory, checks host keys and logs in as the inventory says. Each
is a process of its own, from its start to its end. `cold` makes its connections; `warm` is the next run, for which
Ansible's ssh has kept its connections open (plain ssh and mitogen keep none). `--install` also runs the whole of
install.yml on hosts where nothing is to be done, with linear and with mitogen. Prints a table; has no goal to miss.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from llmprov import paths
from llmprov.inventory import load as load_inventory
from llmprov.progress import NullProgress
from llmprov.report.console import out
from llmprov.runner.environment import Strategy, build, choose_strategy
from llmprov.stages import Runner, stage_names
from llmprov.workflows.probe import probe_hosts
from tests.bench.controller import run
from tests.bench.second_run import booted

PLAY = """\
- name: Probe
  hosts: control_plane:workers
  gather_facts: false
  become: true
  tasks:
    - name: Probe
      host_probe:
"""


@dataclass(frozen=True)
class Way:
    """One way of Ansible to reach hosts."""

    strategy: Strategy
    forks: int
    pipelining: bool = True

    @property
    def name(self) -> str:
        """How the table names it."""
        return f"{self.strategy.name}, {self.forks} forks" + ("" if self.pipelining else ", no pipelining")

    def environment(self, directory: Path) -> Mapping[str, str]:
        """Return the environment of ansible-playbook: llmprov's own, less what is compared here."""
        config = directory / "ansible.cfg"
        config.write_text("[defaults]\n", encoding="utf-8")
        return build(os.environ, config, self.strategy, forks=self.forks) | {
            "ANSIBLE_PIPELINING": str(self.pipelining),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "cp"),
        }


def ways() -> tuple[Way, ...]:
    """Return all that are compared, Ansible's defaults first."""
    linear, mitogen = Strategy("linear"), choose_strategy()
    return (
        Way(linear, 5, pipelining=False),
        *(Way(linear, forks) for forks in (5, 20, 50)),
        Way(Strategy("free"), 50),
        *(Way(mitogen, forks) for forks in (20, 50) if mitogen.plugins),
    )


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10, help="of the lab that is booted")
    parser.add_argument("--inventory", type=Path, help="hosts that are there already")
    parser.add_argument("--repeat", type=int, default=3, help="runs, of which the median counts")
    parser.add_argument("--install", action="store_true", help="also the whole playbook; hosts must be in sync")
    parser.add_argument("--plain-ssh", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain_ssh:
        return _probe(given.plain_ssh)
    if given.inventory:
        _compare(given.inventory, given.repeat, whole=given.install)
        return 0
    with booted(given.hosts) as inventory:
        _compare(inventory, given.repeat, whole=False)
    return 0


def _probe(inventory: Path) -> int:
    """Be the process that probes by plain ssh."""
    found, missed = probe_hosts(load_inventory(inventory), NullProgress())
    for host in missed:
        out.print(f"{host.host}: {host.problem}")
    return 0 if found and not missed else 1


def _compare(inventory: Path, repeat: int, *, whole: bool) -> None:
    hosts = len(load_inventory(inventory).hosts)
    out.print(f"{hosts} hosts, {os.cpu_count()} processors, median of {repeat}")
    table = Table("one probe of every host", "cold, s", "warm, s", box=None, pad_edge=False, header_style="bold")
    ssh = [sys.executable, "-m", "tests.bench.transports", "--plain-ssh", str(inventory)]
    table.add_row("plain ssh, as llmprov does", f"{statistics.median(run(ssh).seconds for _ in range(repeat)):.1f}", "")
    with tempfile.TemporaryDirectory() as directory:
        play = Path(directory) / "probe.yml"
        play.write_text(PLAY, encoding="utf-8")
        for way in ways():
            cold, warm = _by_ansible(way, ["ansible-playbook", str(play), "-i", str(inventory)], repeat)
            table.add_row(way.name, f"{cold:.1f}", f"{warm:.1f}")
    out.print(table)
    if whole:
        _compare_whole(inventory, repeat)


def _compare_whole(inventory: Path, repeat: int) -> None:
    playbook = paths.content_root() / "playbooks" / "install.yml"
    command = ["ansible-playbook", str(playbook), "-i", str(inventory)]
    command += ["--tags", ",".join(stage_names(runner=Runner.ANSIBLE))]
    command += ["--extra-vars", json.dumps({"registry_push": "none", "prepull_images": []})]
    table = Table("the whole of install.yml", "cold, s", "warm, s", box=None, pad_edge=False, header_style="bold")
    for way in (Way(Strategy("linear"), 20), Way(choose_strategy(), 20)):
        cold, warm = _by_ansible(way, command, repeat)
        table.add_row(way.name, f"{cold:.1f}", f"{warm:.1f}")
    out.print(table)


def _by_ansible(way: Way, command: Sequence[str], repeat: int) -> tuple[float, float]:
    """Return the medians of the first runs, each with connections of its own, and of the runs after them."""
    cold, warm = [], []
    for _ in range(repeat):
        # Sockets have short names: a path of the system's own, not one below another.
        with tempfile.TemporaryDirectory(prefix="t-") as directory:
            environment = way.environment(Path(directory))
            cold.append(run(command, environment=environment).seconds)
            warm.append(run(command, environment=environment).seconds)
    return statistics.median(cold), statistics.median(warm)


if __name__ == "__main__":
    sys.exit(main())
