"""Bare hosts to a model that answers, and again without a change."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmprov.runner.journal import read
from tests.bench.install import show, times
from tests.lab.conftest import Lab, booted

pytestmark = pytest.mark.lab
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, lab_environment: dict[str, str]) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("model")
    with booted("model", directory, lab_environment, "--hosts", "3", "--subnet", "10.77.43.0/24") as running:
        yield running


def test_bare_hosts_to_an_answer(lab: Lab) -> None:
    document = json.loads(lab.llmprov("install", "-i", str(lab.inventory), "--json", timeout=1800).stdout)
    assert [model["name"] for model in document["objects"]["models"]] == ["smollm2"]
    assert {pull["host"] for pull in document["pulls"]} == {"gpu1", "gpu2"}
    # Of all its processes together: Ansible, its forks, mitogen, ssh and the push. Its own are about 65 MB.
    assert document["controller_peak_memory_bytes"] < 350 * MEGABYTE
    show(times(read(Path(document["journal"]))))
    answer = lab.llmprov("chat", "smollm2", "What is the capital of France?", "-i", str(lab.inventory))
    assert "Paris" in answer.stdout


def test_the_second_install_changes_nothing(lab: Lab) -> None:
    document = json.loads(lab.llmprov("install", "-i", str(lab.inventory), "--json").stdout)
    assert {host: counts["changed"] for host, counts in document["hosts"].items()} == {"cp1": 0, "gpu1": 0, "gpu2": 0}
    assert document["objects"]["changes"] == 0
