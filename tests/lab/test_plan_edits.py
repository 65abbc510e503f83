"""What a plan says is what an install then does, no more and no less: on real hosts, over random edits."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llmprov.runner.journal import read
from tests.lab.conftest import Lab, booted

pytestmark = pytest.mark.lab
UNTIL = "runtime"
EDITS = 6
# Public variables with harmless values to choose from; each is read by one stage or more.
VALUES: dict[str, tuple[object, ...]] = {
    "base_limits": (["* soft nofile 65536"], ["* hard nofile 65536"]),
    "base_extra_sysctls": ({"net.ipv4.conf.all.accept_redirects": 0}, {"net.ipv4.conf.all.log_martians": 0}),
    "registry_configuration": ({"log": {"level": "info"}}, {"log": {"level": "error"}}),
    "registry_memory_max": ("300M", "310M"),
    "runtime_containerd_configuration": ({"debug": {"level": "info"}}, {"debug": {"level": "warn"}}),
    "runtime_pod_mtu": (1400, 1300),
    "runtime_registries": (["llmprov.internal", "one.internal"], ["llmprov.internal", "two.internal"]),
}
# Where an edit is made: the whole inventory, a group, a host.
PLACES = ("group_vars/all", "group_vars/gpu_workers", "group_vars/control_plane", "host_vars/gpu2")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, lab_environment: dict[str, str]) -> Iterator[Lab]:
    """Three hosts with the first stages."""
    directory = tmp_path_factory.mktemp("edits")
    with booted("edits", directory, lab_environment, "--hosts", "3", "--subnet", "10.77.46.0/24") as running:
        running.llmprov("install", "-i", str(running.inventory), "--until", UNTIL, timeout=900)
        yield running


def planned(lab: Lab) -> set[tuple[str, str]]:
    document = lab.llmprov("plan", "-i", str(lab.inventory), "--until", UNTIL, "--json").json
    return {(item["host"], item["stage"]) for item in document["hosts"] if item["verdict"] != "in sync"}


def done(journal: Path) -> set[tuple[str, str]]:
    """Return every host and stage of which the journal has a task."""
    results = (event for event in read(journal) if event["event"] == "result")
    return {(str(event["host"]), str(event["stage"])) for event in results if event["stage"] != "always"}


def edit(lab: Lab, choose: random.Random) -> str:
    """Set one variable in one place; return what was done, for the message of a failure."""
    place, name = choose.choice(PLACES), choose.choice(sorted(VALUES))
    value = choose.choice(VALUES[name])
    file = lab.inventory / place / "edits.yml" if place.startswith("host") else _group_file(lab, place)
    file.parent.mkdir(parents=True, exist_ok=True)
    known = yaml.safe_load(file.read_text()) if file.exists() else {}
    file.write_text(yaml.safe_dump({**(known or {}), name: value}))
    return f"{place}: {name} = {value}"


def _group_file(lab: Lab, place: str) -> Path:
    """Return the file of a group's variables; the lab keeps those of `all` in one file."""
    file = lab.inventory / f"{place}.yml"
    return file if file.exists() else lab.inventory / place / "edits.yml"


def test_an_install_does_what_the_plan_says(three: Lab) -> None:
    assert planned(three) == set()
    seed = random.SystemRandom().randrange(1_000_000)
    choose = random.Random(seed)  # noqa: S311 - edits, not secrets; the seed repeats a failure
    edited: list[str] = []
    for _ in range(EDITS):
        edited.append(edit(three, choose))
        said = planned(three)
        result = three.llmprov("install", "-i", str(three.inventory), "--until", UNTIL, "--json").json
        about = f"seed {seed}, after {edited}"
        assert done(Path(result["journal"])) == said, about
        assert planned(three) == set(), about
