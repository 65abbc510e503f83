"""The controller dies in the middle and at the end of every stage, and a worker before, during and after its join.

Every install goes on from where the one before was ended; the last one reaches the state of a clean install.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmprov.errors import ExitCode
from tests.faults.cluster import Looks, install
from tests.faults.fault import asked, is_clean
from tests.faults.live import WAY, Live, Moment
from tests.lab.conftest import KUBECTL, Lab
from tests.lab.polling import until

pytestmark = pytest.mark.lab
JOINED = WAY.index(Moment("play_end", "worker"))


@pytest.fixture(scope="module")
def lab(cluster: Lab, clean: Looks) -> Iterator[Lab]:
    """The same hosts, bare again; `clean` was taken before."""
    assert clean
    cluster.llmprov("reset", "-i", str(cluster.inventory), "--yes")
    yield cluster
    install(cluster)


def _is_killed(lab: Lab, moment: Moment, printed: Path) -> None:
    with Live(lab, printed) as running:
        running.await_moment(moment)
        running.cut_power()
        assert running.process.returncode == -9


def _leave_work(lab: Lab) -> None:
    """An install goes through all that lives in the cluster only when something is to be done on a host, too."""
    lab.ssh("gpu2", "sudo rm -f /var/lib/llmprov/stages/base.json")


def _worker_loses_power(lab: Lab, moment: Moment, printed: Path) -> None:
    with Live(lab, printed, "--until", "network") as running:
        running.await_moment(moment)
        lab.llmprov("lab", "poweroff", "gpu2", "--hard", "--name", lab.name)
        try:
            # Set aside by Ansible, or missed by Kubernetes, or not needed any more; never a hang.
            assert running.process.wait(900) in {0, 8, 11}, running.printed[-3000:]
        finally:
            lab.llmprov("lab", "start", "gpu2", "--name", lab.name)
    assert "Traceback" not in running.printed


@pytest.mark.parametrize("moment", WAY[:JOINED], ids=str)
def test_controller_loses_power(lab: Lab, moment: Moment, tmp_path: Path) -> None:
    _is_killed(lab, moment, tmp_path / "printed")


def test_worker_is_off_before_its_join(lab: Lab) -> None:
    lab.llmprov("lab", "poweroff", "gpu2", "--hard", "--name", lab.name)
    try:
        install(lab, "--until", "worker", codes=(ExitCode.PARTIAL,))
        assert "gpu2" not in lab.ssh("cp1", f"{KUBECTL} get nodes --no-headers")
    finally:
        lab.llmprov("lab", "start", "gpu2", "--name", lab.name)


def test_worker_loses_power_during_its_join(lab: Lab, tmp_path: Path) -> None:
    _worker_loses_power(lab, Moment("result", "worker", "gpu2"), tmp_path / "printed")


def test_controller_loses_power_when_workers_have_joined(lab: Lab, tmp_path: Path) -> None:
    _is_killed(lab, WAY[JOINED], tmp_path / "printed")


def test_worker_loses_power_after_its_join(lab: Lab, tmp_path: Path) -> None:
    _worker_loses_power(lab, Moment("phase", "apply network"), tmp_path / "printed")


@pytest.mark.parametrize("moment", WAY[JOINED + 1 :], ids=str)
def test_controller_loses_power_later(lab: Lab, moment: Moment, tmp_path: Path) -> None:
    _leave_work(lab)
    _is_killed(lab, moment, tmp_path / "printed")


def test_only_llmprov_itself_is_killed(lab: Lab, tmp_path: Path) -> None:
    """What it started ends by itself, and does not get in the way of the next install."""
    _leave_work(lab)
    with Live(lab, tmp_path / "printed") as running:
        running.await_moment(Moment("phase", "apply models"))
        running.kill_itself()
        until(lambda: not running.pids(), seconds=60, what="what llmprov started to end")


def test_the_next_install_reaches_the_state_of_a_clean_one(lab: Lab, clean: Looks) -> None:
    install(lab)
    is_clean(lab, clean)
    with asked(lab) as requests:
        pass
    assert not requests.report.failures
