"""Lab hosts for tests, driven through the command line as a user would, with a state directory of the session's own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.lab.bare import BareLab

_THREE_HOSTS = """\
subnet: 10.79.0.0/24
hosts:
  cp1: {memory: 512M}
  gpu1: {disk: 1G, base: bookworm}
  gpu2: {binds: {/srv/models: %s}}
"""


@dataclass(frozen=True)
class Outcome:
    """How one `llmprov` call ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the verb documents
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Lab:
    """A booted lab: its inventory and the command line that works on it."""

    name: str
    inventory: Path
    environment: dict[str, str]
    python: str = sys.executable
    directory: Path | None = None

    def llmprov(self, *arguments: str, check: bool = True, timeout: float = 1200) -> Outcome:
        """Run `llmprov ARGUMENTS`; unless told otherwise a failure fails the test with what was printed."""
        done = subprocess.run(
            [self.python, "-m", "llmprov", *arguments],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"llmprov {' '.join(arguments)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
        return Outcome(done.returncode, done.stdout, done.stderr)

    def ssh(self, host: str, command: str, *, check: bool = True) -> str:
        """Run a shell command on a host with plain OpenSSH, as the lab's documentation promises."""
        done = subprocess.run(
            ["ssh", "-F", str(self.inventory / "ssh.cfg"), host, command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"ssh {host} {command!r} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout


YOURS = "yours"
"""Name here of a lab that was there already."""

# Keeps kubectl's cache out of the host's files, which some tests compare.
KUBECTL = "sudo kubectl --kubeconfig /etc/kubernetes/admin.conf --cache-dir /run/kubectl-cache"


@pytest.fixture(scope="session", autouse=True)
def _requirements() -> None:
    if os.geteuid() != 0:
        pytest.skip("lab hosts need root (network namespaces, systemd-nspawn)")
    missing = [tool for tool in ("systemd-nspawn", "mmdebstrap", "ip", "ssh") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"missing tools: {', '.join(missing)}; scripts/bootstrap lab installs them")


@pytest.fixture(scope="session")
def lab_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of every call: the user's caches, but state of the session's own."""
    return os.environ | {"LLMPROV_STATE_DIR": str(tmp_path_factory.mktemp("state"))}


@contextmanager
def booted(
    name: str, tmp_path: Path, environment: dict[str, str], *arguments: str, python: str = sys.executable
) -> Iterator[Lab]:
    """Boot a lab with the packaged lab inventory, and destroy it whatever happens."""
    lab = Lab(name, tmp_path / "inventory", environment, python, tmp_path if python != sys.executable else None)
    try:
        lab.llmprov("lab", "up", "--name", name, "--inventory", str(lab.inventory), *arguments)
        yield lab
    finally:
        lab.llmprov("lab", "destroy", "--name", name)


@dataclass(frozen=True)
class Installed:
    """Three hosts with Kubernetes and the lab's model on them; `document` is what the install said of itself."""

    lab: Lab
    document: dict[str, Any]


def yours() -> Lab | None:
    """Return the installed lab whose inventory LLMPROV_TEST_INVENTORY names, None where it names none."""
    inventory = os.environ.get("LLMPROV_TEST_INVENTORY")
    return Lab(YOURS, Path(inventory), dict(os.environ)) if inventory else None


def with_power(lab: Lab) -> Lab:
    """Return a lab by the name under which its hosts can be powered off; skip the test where they must not be.

    Of a lab that is there already, LLMPROV_TEST_LAB says the name, and that its hosts may be treated so.
    """
    if lab.name != YOURS:
        return lab
    if name := os.environ.get("LLMPROV_TEST_LAB"):
        return replace(lab, name=name)
    pytest.skip("only a lab of the tests' own, or the one that LLMPROV_TEST_LAB names, has its hosts powered off")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, lab_environment: dict[str, str]) -> Iterator[Installed]:
    """One installed cluster for all tests that need one; each leaves it as it was.

    While tests are written it may be one that is there already: LLMPROV_TEST_INVENTORY names its inventory.
    """
    if there := yours():
        yield Installed(there, {})
        return
    directory = tmp_path_factory.mktemp("installed")
    with booted("installed", directory, lab_environment, "--hosts", "3", "--subnet", "10.77.43.0/24") as running:
        done = running.llmprov("install", "-i", str(running.inventory), "--json", timeout=1800)
        yield Installed(running, done.json)


INSTALLED = "installed"
"""Tests in the directory of this name share one installed cluster."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the installed cluster come last: first of these how it was installed, last the faults."""

    def place(item: pytest.Item) -> int:
        if INSTALLED not in item.path.parts:
            return 0
        # A load leaves a second replica behind for as long as the cool-down.
        return {
            "test_install_model.py": 1,
            "test_plan.py": 1,
            "test_scaling.py": 2,
            "test_alerts.py": 4,
        }.get(item.path.name, 3)

    items.sort(key=place)


class _ByLab(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """Where tests run in parallel, those of one lab stay together: the installed cluster's, else those of a file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return INSTALLED if INSTALLED in Path(file).parts else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Schedule by lab."""
    return _ByLab(config, log)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareLab]:
    """Three bare hosts, each with one option of lab.yml; for tests of the lab itself."""
    home = tmp_path_factory.mktemp("lab")
    models = home / "models"
    models.mkdir()
    (models / "weights").write_text("seen from outside\n")
    (home / "lab.yml").write_text(_THREE_HOSTS % models)
    running = BareLab(f"t{os.getpid()}", home)
    try:
        running("up", "-f", str(home / "lab.yml"))
        yield running
    finally:
        running("destroy")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[BareLab]:
    """A lab that is not started yet."""
    prepared = BareLab(f"s{os.getpid()}", tmp_path)
    try:
        yield prepared
    finally:
        prepared("destroy")
