"""A directory of weights on the controller becomes a model that answers; what cannot be served is refused first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import KUBECTL, Installed, Lab
from tests.lab.weights import make_sparse, unpack

pytestmark = pytest.mark.lab
NAME = "own"
_MODEL = """\
name: own
source:
  image: {image}
resources: {{gpus: 1, memory: 6Gi, shared_memory: 1Gi}}
max_model_len: 1024
engine:
  args: [--enforce-eager]
  env: {{VLLM_CPU_KVCACHE_SPACE: "1"}}
timeouts: {{startup_seconds: 600, drain_seconds: 20}}
"""


@pytest.fixture(scope="module")
def lab(installed: Installed) -> Lab:
    return installed.lab


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's files as a user has them: those of the bundle's model, out of its image."""
    directory = tmp_path_factory.mktemp("weights")
    unpack("smollm2-135m-instruct", directory)
    return directory


@pytest.fixture(scope="module")
def pushed(lab: Lab, weights: Path) -> dict[str, Any]:
    """What the first push said."""
    return _push(lab, str(weights), NAME)


@pytest.fixture
def served(lab: Lab, pushed: dict[str, Any]) -> Iterator[None]:
    """The pushed model in place of one of the inventory's, on the GPU that this leaves free."""
    models = lab.inventory / "models"
    file, replaced = models / f"{NAME}.yml", models / "assistant.yml"
    kept = replaced.read_bytes()
    replaced.unlink()
    file.write_text(_MODEL.format(image=pushed["reference"]), encoding="utf-8")
    try:
        lab.llmprov("install", "-i", str(lab.inventory), timeout=600)
        yield
    finally:
        file.unlink()
        replaced.write_bytes(kept)
        lab.llmprov("model", "deploy", "-i", str(lab.inventory), timeout=600)


def test_the_second_push_sends_nothing(lab: Lab, weights: Path, pushed: dict[str, Any]) -> None:
    assert pushed["sent"] >= pushed["size"] > 200_000_000
    assert pushed["layers"] > 1
    again = _push(lab, str(weights), NAME)
    assert again["sent"] == 0
    assert again["reference"] == pushed["reference"]


def test_an_installed_cluster_serves_what_was_pushed(lab: Lab, pushed: dict[str, Any], served: None) -> None:
    assert served is None
    answer = lab.llmprov("chat", NAME, "What is the capital of France?", "-i", str(lab.inventory))
    assert "Paris" in answer.stdout
    (listed,) = [model for model in _listed(lab) if model["name"] == NAME]
    assert listed["served_as"] == [NAME]
    assert (listed["reference"], listed["size"]) == (pushed["reference"], pushed["size"])
    status = lab.llmprov("status", "-i", str(lab.inventory), "--json").json
    assert {model["name"] for model in status["models"]} == {"smollm2", NAME}


def test_a_model_that_left_the_inventory_left_the_cluster(lab: Lab) -> None:
    deployments = lab.ssh("cp1", f"{KUBECTL} -n llmprov-models get deployments -o name").split()
    assert sorted(deployments) == ["deployment.apps/assistant", "deployment.apps/smollm2"]


def test_a_directory_without_weights(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    printed = _refused(lab, str(tmp_path), "empty")
    assert f"{tmp_path} holds no weights" in printed
    assert "give the directory of a complete download" in printed


def test_a_name_that_kubernetes_would_refuse(lab: Lab, weights: Path) -> None:
    printed = _refused(lab, str(weights), "Own_Model")
    assert "'Own_Model' is not a DNS-1123 label" in printed
    assert "call it 'own-model'" in printed


def test_a_model_that_no_disk_holds(lab: Lab, tmp_path: Path) -> None:
    make_sparse(tmp_path, 1 << 40)
    printed = _refused(lab, str(tmp_path), "huge")
    assert "the model (1024.0 GiB) does not fit on 3 of 3 hosts" in printed
    for host, needed in (("cp1", "1025.0"), ("gpu1", "2049.0"), ("gpu2", "2049.0")):
        assert f"needed {needed} GiB" in next(line for line in printed.splitlines() if f"{host}: " in line)


def _push(lab: Lab, source: str, name: str) -> dict[str, Any]:
    document: dict[str, Any] = lab.llmprov("model", "push", source, name, "-i", str(lab.inventory), "--json").json
    return document


def _listed(lab: Lab) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = lab.llmprov("model", "list", "--registry", "-i", str(lab.inventory), "--json").json
    return document


def _refused(lab: Lab, source: str, name: str) -> str:
    """Push what must be refused before anything is sent; returns what was printed."""
    before = _listed(lab), _used(lab)
    done = lab.llmprov("model", "push", source, name, "-i", str(lab.inventory), check=False)
    assert done.exit_code == 10, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.count("error: ") == done.stderr.count("remedy: ") == 1
    assert (_listed(lab), _used(lab)) == before
    return done.stderr


def _used(lab: Lab) -> str:
    """Every file of the registry."""
    return lab.ssh("cp1", "sudo find /var/lib/private/llmprov-registry -type f | sort")
