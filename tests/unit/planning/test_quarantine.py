"""Which failures the rest goes on without, and which stop everything."""

from pathlib import Path

import pytest

from llmprov.errors import HostConnectionError, InstallError, PreflightError
from llmprov.host_state import Unprobed
from llmprov.inventory import Inventory, load
from llmprov.preflight import Finding, PreflightReport, Severity
from llmprov.runner import Cause, Failure, HostOutcome, RunResult
from llmprov.workflows.quarantine import Bounds, Quarantine

HOSTS = """
all:
  children:
    control_plane: {hosts: {cp1: {}, cp2: {}, cp3: {}}}
    workers: {children: {gpu_workers: {}}}
    gpu_workers: {hosts: {gpu1: {}, gpu2: {}, gpu3: {}}}
"""


@pytest.fixture
def rack(tmp_path: Path) -> Inventory:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    return load(tmp_path)


@pytest.mark.parametrize(
    ("failed", "max_failed", "refused"),
    [
        ({"gpu1"}, None, ""),
        ({"gpu1", "gpu2"}, None, ""),
        ({"gpu1", "gpu2", "gpu3"}, None, "no worker is left"),
        ({"gpu1", "gpu2"}, 1, "without at most 1 workers"),
        ({"gpu1"}, 1, ""),
        ({"gpu1"}, 0, "without at most 0 workers"),
        ({"cp2"}, None, ""),
        ({"cp2", "cp3"}, None, "1 of 3 control planes are no quorum"),
        ({"cp1"}, None, "cp1 carries the registry"),
        (set(), 0, ""),
    ],
)
def test_bounds(rack: Inventory, failed: set[str], max_failed: int | None, refused: str) -> None:
    said = Bounds(rack, max_failed).refusal(failed)
    assert refused in said
    assert bool(said) == bool(refused)


def silent(*names: str) -> list[Unprobed]:
    return [Unprobed(name, "timed out", "look at its power") for name in names]


def test_a_dead_worker_of_a_cluster_is_set_aside(rack: Inventory) -> None:
    quarantine = Quarantine(rack, max_failed=None, cluster_exists=True)
    quarantine.unprobed(silent("gpu2"))
    assert [item.line for item in quarantine.hosts] == ["gpu2: timed out"]


def test_a_first_install_is_refused_unless_it_was_asked_to_go_on(rack: Inventory) -> None:
    with pytest.raises(HostConnectionError, match=r"gpu2; it goes on without at most 0"):
        Quarantine(rack, max_failed=None, cluster_exists=False).unprobed(silent("gpu2"))
    asked = Quarantine(rack, max_failed=1, cluster_exists=False)
    asked.unprobed(silent("gpu2"))
    assert asked.names == {"gpu2"}


FULL = Finding("gpu1", "disk", "/var is full", "make room")
BETWEEN = Finding("gpu1, gpu2", "hostname", "both are called node", "rename one")
SWAP = Finding("gpu3", "swap", "swap is on", "nothing", Severity.WARNING)


def test_an_unfit_worker_is_set_aside_and_a_fault_between_hosts_is_not(rack: Inventory) -> None:
    quarantine = Quarantine(rack, max_failed=None, cluster_exists=True)
    quarantine.unfit(PreflightReport(("gpu1", "gpu3"), (FULL, SWAP)))
    assert quarantine.names == {"gpu1"}
    with pytest.raises(PreflightError, match="2 errors"):
        quarantine.unfit(PreflightReport(("gpu1", "gpu2"), (FULL, BETWEEN)))


def result(*failed: str) -> RunResult:
    outcomes = tuple(
        HostOutcome(name, failure=Failure(name, "runtime", "Run containerd", "no space", Cause.TASK, "make room"))
        for name in failed
    )
    return RunResult(rc=2 if failed else 0, seconds=1.0, hosts=outcomes)


def test_a_worker_whose_stage_fails_is_set_aside(rack: Inventory) -> None:
    quarantine = Quarantine(rack, max_failed=None, cluster_exists=False)
    quarantine.failed(result())
    quarantine.failed(result("gpu3"))
    [aside] = quarantine.hosts
    assert aside.line == "gpu3: (stage runtime, task 'Run containerd'): no space"
    assert aside.remedy == "make room"


def test_failures_add_up(rack: Inventory) -> None:
    quarantine = Quarantine(rack, max_failed=None, cluster_exists=True)
    quarantine.unprobed(silent("gpu1"))
    with pytest.raises(InstallError, match="no worker is left") as caught:
        quarantine.failed(result("gpu2", "gpu3"))
    assert len(caught.value.details) == 2


def test_ansible_that_does_not_start_stops_everything(rack: Inventory) -> None:
    with pytest.raises(InstallError, match="status 4"):
        Quarantine(rack, max_failed=None, cluster_exists=True).failed(RunResult(rc=4, seconds=0.1, hosts=()))
