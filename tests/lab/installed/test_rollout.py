"""A model is replaced under load: with a spare GPU, without one, and by a revision that crashes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmprov.errors import ExitCode
from tests.lab.conftest import Installed, Lab
from tests.lab.serving import changed, no_spare_gpu, pods, served
from tests.load.__main__ import endpoint_of
from tests.load.client import lab_network
from tests.load.generator import Plan
from tests.load.running import load

pytestmark = pytest.mark.lab
MODEL = "smollm2"


@pytest.fixture(scope="module")
def lab(installed: Installed) -> Iterator[Lab]:
    """The installed cluster, and its models as their files say again afterwards."""
    yield installed.lab
    installed.lab.llmprov("model", "deploy", "-i", str(installed.lab.inventory))


@contextmanager
def unharmed(lab: Lab) -> Iterator[None]:
    """Ask the model all the time; every answer must be whole."""
    plan = Plan([MODEL], concurrency=2)
    with load(endpoint_of(lab.inventory, lab.environment), plan, lab_network(lab.inventory)) as running:
        yield
    assert running.report.outcomes
    assert running.report.failures == []


def restart(lab: Lab) -> dict[str, str]:
    found: dict[str, str] = lab.llmprov(
        "model", "rollout", MODEL, "--restart", "-i", str(lab.inventory), "--json"
    ).json["rollout"]
    return found


def test_with_a_spare_gpu_the_new_replica_comes_first(lab: Lab) -> None:
    before = pods(lab, MODEL)
    with unharmed(lab):
        plan = restart(lab)
    assert plan["move"] == "surge"
    assert plan["warning"] == ""
    assert not before.keys() & pods(lab, MODEL).keys()


def test_a_revision_that_crashes_is_taken_back_while_the_old_one_serves(lab: Lab, tmp_path: Path) -> None:
    before = pods(lab, MODEL)
    bad = changed(lab, tmp_path, MODEL, engine={"args": ["--enforce-eager", "--no-such-argument"]})
    with unharmed(lab):
        outcome = lab.llmprov("model", "rollout", MODEL, "-i", str(bad), check=False)
    assert outcome.exit_code == ExitCode.MODEL
    assert "was taken back; the previous revision serves with" in outcome.stderr
    assert "ended with exit code 2" in outcome.stderr
    assert "unrecognized arguments: --no-such-argument" in outcome.stderr
    assert pods(lab, MODEL).keys() == before.keys()


def test_without_a_spare_gpu_the_old_one_goes_first(lab: Lab, tmp_path: Path) -> None:
    lab.llmprov("model", "scale", MODEL, "2", "-i", str(lab.inventory))
    two = changed(lab, tmp_path, MODEL, replicas=2)
    before = pods(lab, MODEL)
    assert len(before) == 2
    with no_spare_gpu(lab):
        dry = lab.llmprov("model", "rollout", MODEL, "--restart", "--dry-run", "-i", str(two), "--json").json
        assert dry["move"] == "drain-first"
        assert "no node has that free" in dry["why"]
        with unharmed(lab):
            done = lab.llmprov("model", "rollout", MODEL, "--restart", "-i", str(two), "--json").json
    assert done["rollout"]["move"] == "drain-first"
    assert not before.keys() & pods(lab, MODEL).keys()


def test_what_fits_nowhere_is_refused_with_the_numbers(lab: Lab, tmp_path: Path) -> None:
    large = changed(lab, tmp_path, MODEL, resources={"gpus": 2})
    before = served(lab, MODEL)["revision"]
    with no_spare_gpu(lab):
        outcome = lab.llmprov("model", "rollout", MODEL, "-i", str(large), check=False)
    assert outcome.exit_code == ExitCode.MODEL
    assert "no node has room for a new replica of smollm2; nothing was changed" in outcome.stderr
    assert "0 of 2 GPUs free" in outcome.stderr
    assert served(lab, MODEL)["revision"] == before
