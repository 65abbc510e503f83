"""Hosts of the scenario's lab for testinfra, as root over the lab's own ssh_config."""

import os
from pathlib import Path

import pytest
import testinfra
import yaml
from testinfra.host import Host

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
NAMES = [host["name"] for host in yaml.safe_load((SCENARIO / "lab.yml").read_text(encoding="utf-8"))["hosts"]]


def connect(name: str) -> Host:
    """Open a connection to a lab host."""
    return testinfra.get_host(f"ssh://{name}", ssh_config=str(EPHEMERAL / "lab" / "ssh.cfg"), sudo=True)


@pytest.fixture(scope="session")
def cp1() -> Host:
    """The first control plane."""
    return connect("cp1")


@pytest.fixture(scope="session", params=NAMES)
def node(request: pytest.FixtureRequest) -> Host:
    """Every host of the scenario, one after the other."""
    return connect(request.param)
