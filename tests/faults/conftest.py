"""An installed cluster of the faults' own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.faults.cluster import Looks, install, looks, plan
from tests.lab.conftest import Lab, _requirements, booted, lab_environment, yours

__all__ = ["_requirements", "lab_environment"]

# A worker with a disk of its own can have it filled. Its images, unpacked, and the weights take less than 8 GB.
_LAB = """\
subnet: 10.77.44.0/24
hosts:
  cp1: {}
  gpu1: {}
  gpu2: {disk: 16G}
"""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, lab_environment: dict[str, str]) -> Iterator[Lab]:
    """Three hosts with everything on them; the model `smollm2` has a replica on each worker.

    While tests are written it may be one that is there already: LLMPROV_TEST_INVENTORY names its inventory.
    """
    if there := yours():
        yield there
        return
    directory = tmp_path_factory.mktemp("faults")
    description = directory / "lab.yml"
    description.write_text(_LAB, encoding="utf-8")
    with booted("faults", directory, lab_environment, "-f", str(description)) as running:
        _two_replicas(running.inventory / "models" / "smollm2.yml")
        install(running)
        yield running


@pytest.fixture(scope="session")
def clean(cluster: Lab) -> Looks:
    """How the hosts look after a clean install, which left nothing to do."""
    left = plan(cluster)
    assert left.empty, (left.reasons, left.rest)
    return looks(cluster)


def _two_replicas(file: Path) -> None:
    """Whatever host is lost, a model is left that could serve."""
    model = yaml.safe_load(file.read_text(encoding="utf-8"))
    del model["autoscaling"]
    file.write_text(yaml.safe_dump(model | {"replicas": 2}), encoding="utf-8")
