"""What is planned for an installed cluster: nothing; after a change, what reads it; after a fault, what it hit."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.faults.cluster import Looks, hosts, install, looks, plan
from tests.faults.fault import Fault, endure, is_clean
from tests.faults.live import Live, Moment
from tests.faults.table import FAULTS
from tests.lab.conftest import Installed, Lab
from tests.lab.looks import belongings

pytestmark = pytest.mark.lab
# A setting of the network namespace: it is the host's own, and does not outlive it.
CHANGE = {"base_extra_sysctls": {"net.ipv4.tcp_keepalive_time": 600}}


@pytest.fixture(scope="module")
def lab(installed: Installed) -> Lab:
    """The installed cluster, brought up to date with its inventory: tests before may have left something."""
    install(installed.lab)
    return installed.lab


@pytest.fixture(scope="module")
def clean(lab: Lab) -> Looks:
    """How its hosts look."""
    return looks(lab)


def changed(lab: Lab, directory: Path, **variables: object) -> Path:
    """Copy the inventory and set variables in the copy."""
    copy = directory / "inventory"
    shutil.copytree(lab.inventory, copy)
    file = copy / "group_vars" / "all.yml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | variables), encoding="utf-8")
    return copy


def test_right_after_an_install_nothing_is_planned_and_planning_changes_nothing(lab: Lab) -> None:
    before = {host: (belongings(lab, host), _times(lab, host)) for host in hosts(lab)}
    found = plan(lab)
    assert found.empty, (found.reasons, found.rest)
    assert {host: (belongings(lab, host), _times(lab, host)) for host in before} == before


def test_a_change_of_one_variable_names_the_stage_that_reads_it(lab: Lab, tmp_path: Path) -> None:
    found = plan(lab, changed(lab, tmp_path, **CHANGE))
    assert found.stages == {(host, "base"): "changed" for host in hosts(lab)}
    assert set(found.reasons.values()) == {"variable base_extra_sysctls"}
    assert found.rest == ()


def test_a_change_for_one_host_names_that_host(lab: Lab, tmp_path: Path) -> None:
    copy = changed(lab, tmp_path)
    (copy / "host_vars").mkdir(exist_ok=True)
    (copy / "host_vars" / "gpu2.yml").write_text(yaml.safe_dump(CHANGE), encoding="utf-8")
    assert plan(lab, copy).stages == {("gpu2", "base"): "changed"}


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.short], ids=lambda fault: fault.name)
def test_one_install_repairs(lab: Lab, clean: Looks, fault: Fault) -> None:
    endure(lab, clean, fault)


def test_two_installs_at_once_and_one_that_is_killed(lab: Lab, clean: Looks, tmp_path: Path) -> None:
    """The second is refused while the first is at work; once that has died, the next goes on where it stopped."""
    copy = changed(lab, tmp_path, **CHANGE)
    with Live(lab, tmp_path / "printed", inventory=copy) as first:
        first.await_moment(Moment("result", "base"))
        first.pause()
        refused = lab.llmprov("install", "-i", str(lab.inventory), check=False)
        first.cut_power()
    assert refused.exit_code == 12, refused.stderr
    assert "remedy:" in refused.stderr
    install(lab)
    is_clean(lab, clean)


def _times(lab: Lab, host: str) -> list[str]:
    """Return every file where programs, settings and records are, with its mode, owner and times."""
    look = r"find /etc /usr /opt /var/lib/llmprov /root /home -xdev -printf '%p %y %s %m %u %T@ %C@\n' | sort"
    lines = lab.ssh(host, f'sudo sh -c "{look}"').splitlines()
    assert len(lines) > 1000  # an empty look would equal any other
    return lines
