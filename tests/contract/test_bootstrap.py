"""scripts/bootstrap installs what the package itself says it needs."""

import re
from pathlib import Path

import yaml

from llmprov.bundle.builders.requirements import version_tuple
from llmprov.bundle.catalog_file import catalog_path
from llmprov.lab import requirements

BOOTSTRAP = (Path(__file__).parents[2] / "scripts" / "bootstrap").read_text()


def test_it_installs_what_the_lab_checks_for() -> None:
    start = BOOTSTRAP.index("bootstrap_lab() {")
    installed = BOOTSTRAP[start : BOOTSTRAP.index("}", start)].split()
    assert set(requirements.packages()) <= set(installed)


def test_its_go_compiles_every_program() -> None:
    artifacts = yaml.safe_load(catalog_path("registries").read_text())["artifacts"]
    asked = {str(artifact["source"].get("go", "1.26.0")) for artifact in artifacts}
    (installed,) = re.findall(r"^GO=go(\S+)$", BOOTSTRAP, re.MULTILINE)
    assert version_tuple(installed) == max(map(version_tuple, asked))
