"""Bare hosts to a model that answers, and again without a change."""

import json
from pathlib import Path

import pytest

from llmprov.runner.journal import read
from tests.bench.install import show, times
from tests.lab.conftest import Installed

pytestmark = pytest.mark.lab
MEGABYTE = 1_000_000


def test_bare_hosts_to_an_answer(installed: Installed) -> None:
    document, lab = installed.document, installed.lab
    assert {model["name"] for model in document["objects"]["models"]} == {"assistant", "smollm2"}
    assert {pull["host"] for pull in document["pulls"]} == {"gpu1", "gpu2"}
    # Of all its processes together: Ansible, its forks, mitogen, ssh and the push. Its own are about 65 MB.
    assert document["controller_peak_memory_bytes"] < 350 * MEGABYTE
    show(times(read(Path(document["journal"]))))
    answer = lab.llmprov("chat", "smollm2", "What is the capital of France?", "-i", str(lab.inventory))
    assert "Paris" in answer.stdout


def test_the_second_install_changes_nothing(installed: Installed) -> None:
    lab = installed.lab
    document = json.loads(lab.llmprov("install", "-i", str(lab.inventory), "--json").stdout)
    assert {host: counts["changed"] for host, counts in document["hosts"].items()} == {"cp1": 0, "gpu1": 0, "gpu2": 0}
    assert document["objects"]["changes"] == 0


def test_what_it_costs_stays_small(installed: Installed) -> None:
    """The registry's two processes at their largest; of a worker's disk everything but other mounts."""
    lab = installed.lab
    peaks = lab.ssh(
        "cp1",
        "for p in $(systemctl show -P MainPID 'llmprov-registry@*'); do grep -E 'VmHWM|RssFile' /proc/$p/status; done",
    )
    assert registry_peak(peaks) < 150 * MEGABYTE
    for host in ("gpu1", "gpu2"):
        used = lab.ssh(
            host, "sudo du --summarize --one-file-system --block-size=1M / /var/lib/containerd /var/lib/kubelet"
        )
        assert sum(int(line.split()[0]) for line in used.splitlines()) < 8_000


def registry_peak(status: str) -> int:
    """Return the most memory in bytes that the processes can have had together; both map one program's pages."""
    sizes = [int(line.split()[1]) * 1024 for line in status.splitlines()]
    largest, shared = sizes[::2], sizes[1::2]
    assert len(largest) == len(shared) == 2
    return sum(largest) - min(shared)
