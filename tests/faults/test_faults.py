"""After every fault one more install reaches the state of a clean one, and models serve meanwhile where they can."""

import pytest

from tests.faults.cluster import Looks
from tests.faults.fault import Fault, endure
from tests.faults.table import FAULTS, on
from tests.lab.conftest import Lab

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_one_install_repairs(cluster: Lab, clean: Looks, fault: Fault) -> None:
    endure(cluster, clean, fault)


@pytest.mark.skip(
    reason="the clock of lab hosts is the machine's: Linux has no namespace for it (time namespaces cover only "
    "CLOCK_MONOTONIC and CLOCK_BOOTTIME), and setting it would move the machine's own; needs a virtual machine"
)
def test_a_clock_jumps(cluster: Lab, clean: Looks) -> None:
    endure(cluster, clean, Fault(name="a clock jumps", do=on("gpu2", "date --set '+1 hour'"), plan={}))
