"""scripts/bootstrap installs what the package itself says it needs."""

from pathlib import Path

from llmprov.lab import requirements

BOOTSTRAP = (Path(__file__).parents[2] / "scripts" / "bootstrap").read_text()


def test_it_installs_what_the_lab_checks_for() -> None:
    start = BOOTSTRAP.index("bootstrap_lab() {")
    installed = BOOTSTRAP[start : BOOTSTRAP.index("}", start)].split()
    assert set(requirements.packages()) <= set(installed)
