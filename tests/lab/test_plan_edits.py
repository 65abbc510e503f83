"""What a plan says is what an install then does, no more and no less: on real hosts, ten variables in random places.

Which stages read which variable is computed for all of them in tests/unit/planning; here it is seen on hosts.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llmprov.runner.journal import read
from tests.lab.conftest import Lab, booted

pytestmark = pytest.mark.lab
UNTIL = "runtime"
# Public variables with harmless values to choose from. Each is read by one stage alone, that of its role.
VALUES: dict[str, tuple[object, ...]] = {
    "base_sysctls": ({"net.ipv4.ip_forward": 1}, {"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0}),
    "base_kernel_modules": (["overlay"], ["overlay", "br_netfilter"]),
    "base_limits": (["* soft nofile 65536"], ["* hard nofile 65536"]),
    "base_extra_sysctls": ({"net.ipv4.conf.all.accept_redirects": 0}, {"net.ipv4.conf.all.log_martians": 0}),
    "registry_configuration": ({"log": {"level": "info"}}, {"log": {"level": "error"}}),
    "registry_push_port": (5002, 5003),
    "registry_memory_max": ("300M", "310M"),
    "runtime_containerd_configuration": ({"debug": {"level": "info"}}, {"debug": {"level": "warn"}}),
    "runtime_pod_mtu": (1400, 1300),
    "runtime_registries": (["llmprov.internal", "one.internal"], ["llmprov.internal", "two.internal"]),
}
# Where an edit is made: the whole inventory, a group, a host; and what it concerns.
PLACES = {
    "group_vars/all": {"cp1", "gpu1", "gpu2"},
    "group_vars/control_plane": {"cp1"},
    "group_vars/gpu_workers": {"gpu1", "gpu2"},
    "host_vars/gpu2": {"gpu2"},
}
# Of the hosts only the first control plane has the registry.
ONLY_ON = {"registry": {"cp1"}}


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


def edit(lab: Lab, name: str, choose: random.Random) -> tuple[str, set[tuple[str, str]]]:
    """Set a variable in some place; return what was done, for the message of a failure, and where it is to be seen."""
    place, value = choose.choice(sorted(PLACES)), choose.choice(VALUES[name])
    file = lab.inventory / place / "edits.yml" if place.startswith("host") else _group_file(lab, place)
    file.parent.mkdir(parents=True, exist_ok=True)
    known = yaml.safe_load(file.read_text()) if file.exists() else {}
    file.write_text(yaml.safe_dump({**(known or {}), name: value}))
    stage = name.partition("_")[0]
    concerned = PLACES[place] & ONLY_ON.get(stage, PLACES[place])
    return f"{place}: {name} = {value}", {(host, stage) for host in concerned}


def _group_file(lab: Lab, place: str) -> Path:
    """Return the file of a group's variables; the lab keeps those of `all` in one file."""
    file = lab.inventory / f"{place}.yml"
    return file if file.exists() else lab.inventory / place / "edits.yml"


def test_an_install_does_what_the_plan_says(three: Lab) -> None:
    assert planned(three) == set()
    seed = random.SystemRandom().randrange(1_000_000)
    choose = random.Random(seed)  # noqa: S311 - edits, not secrets; the seed repeats a failure
    edited: list[str] = []
    for name in choose.sample(sorted(VALUES), k=len(VALUES)):
        what, where = edit(three, name, choose)
        edited.append(what)
        about = f"seed {seed}, after {edited}"
        assert planned(three) == where, about
        result = three.llmprov("install", "-i", str(three.inventory), "--until", UNTIL, "--json").json
        assert done(Path(result["journal"])) == where, about
        assert planned(three) == set(), about
