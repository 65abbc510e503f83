"""Hosts of the scenario's lab for testinfra, as root over the lab's own ssh_config."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import testinfra
import yaml
from testinfra.host import Host

EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
NAMES = [host["name"] for host in yaml.safe_load((SCENARIO / "lab.yml").read_text(encoding="utf-8"))["hosts"]]
SSH_CONFIG = EPHEMERAL / "lab" / "ssh.cfg"
SNAPSHOT = Path(__file__).parent / "snapshot.sh"


def connect(name: str) -> Host:
    """Open a connection to a lab host."""
    return testinfra.get_host(f"ssh://{name}", ssh_config=str(SSH_CONFIG), sudo=True)


@pytest.fixture(scope="session")
def cp1() -> Host:
    """The first control plane."""
    return connect("cp1")


@pytest.fixture(scope="session", params=NAMES)
def node(request: pytest.FixtureRequest) -> Host:
    """Every host of the scenario, one after the other."""
    return connect(request.param)


@pytest.fixture(params=NAMES)
def snapshots(request: pytest.FixtureRequest) -> Callable[[], tuple[set[str], set[str]]]:
    """What was on a host when it was bare, and what is there now, for every host."""

    def take() -> tuple[set[str], set[str]]:
        before = (EPHEMERAL / f"{request.param}.bare").read_text(encoding="utf-8")
        command = ["ssh", "-F", str(SSH_CONFIG), request.param, "sudo sh -s"]
        script = SNAPSHOT.read_text(encoding="utf-8")
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
        return _lines(before), _lines(done.stdout)

    return take


def _lines(text: str) -> set[str]:
    return {line.rstrip() for line in text.splitlines()} - {""}
