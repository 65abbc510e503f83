"""The wheel is all a controller needs: in an empty environment elsewhere, it takes bare hosts to nodes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import KUBECTL, Lab, booted

pytestmark = pytest.mark.lab
CHECKOUT = Path(__file__).parents[2]


def _run(*command: str | Path, **options: Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment that holds the wheel and its pinned dependencies."""
    directory = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, CHECKOUT)
    _run(sys.executable, "-m", "venv", directory / "venv")
    pip = (directory / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, "--require-hashes", "--requirement", CHECKOUT / "requirements.lock")
    _run(*pip, "--no-deps", next(directory.glob("*.whl")))
    return str(directory / "venv" / "bin" / "python")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, lab_environment: dict[str, str], python: str) -> Iterator[Lab]:
    # Neither the checkout nor the environment's own bin directory helps.
    environment = {name: value for name, value in lab_environment.items() if name != "PYTHONPATH"}
    environment["PATH"] = os.pathsep.join(("/usr/sbin", "/usr/bin", "/sbin", "/bin"))
    directory = tmp_path_factory.mktemp("elsewhere")
    arguments = ("--hosts", "2", "--subnet", "10.77.44.0/24")
    with booted("wheel", directory, environment, *arguments, python=python) as running:
        yield running


def test_it_comes_from_the_wheel(lab: Lab) -> None:
    done = subprocess.run(
        [lab.python, "-c", "from llmprov.paths import content_root; print(content_root())"],
        cwd=lab.directory,
        env=lab.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "site-packages" in done.stdout
    assert (Path(done.stdout.strip()) / "playbooks" / "install.yml").is_file()


def test_a_started_inventory_validates(lab: Lab) -> None:
    lab.llmprov("init", "rack", "--hosts", "cp1=192.0.2.11,gpu1=192.0.2.21")
    assert lab.llmprov("inventory", "validate", "-i", "rack").exit_code == 0


def test_bare_hosts_become_nodes(lab: Lab) -> None:
    lab.llmprov("preflight", "-i", str(lab.inventory))
    document = lab.llmprov("install", "-i", str(lab.inventory), "--until", "worker", "--json").json
    assert set(document["hosts"]) == {"cp1", "gpu1"}
    nodes = lab.ssh("cp1", f"{KUBECTL} get nodes --no-headers")
    assert [line.split()[1] for line in nodes.splitlines()] == ["Ready", "Ready"]
