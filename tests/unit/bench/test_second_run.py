"""What the benchmark of second runs makes of its numbers, and how it sees a command's processes."""

import sys
from pathlib import Path
from typing import cast

import pytest
from ansible.config.manager import ConfigManager

from llmprov.stages import Runner, stage_names
from tests.bench.controller import peak_memory, run
from tests.bench.second_run import MEGABYTE, Costs, _configuration, goals_for, plays, show
from tests.bench.transports import ways

WELL = Costs(plan=3.0, install=4.0, ansible=60.0, memory=200 * MEGABYTE)
HOLD = "held = bytearray(80_000_000); held[::4096] = bytes([1]) * len(held[::4096])"


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        (Costs(4.5, 4.0, 60.0, 0), "plan takes 4.5 s, not 4 at most"),
        (Costs(3.0, 5.5, 60.0, 0), "install takes 5.5 s, not 5 at most"),
        (Costs(3.0, 4.0, 18.0, 0), "install is 4.5 times faster than plain Ansible, not 5.0"),
        (Costs(3.0, 4.0, 60.0, 501 * MEGABYTE), "the controller needs 501 MB, not 500 at most"),
    ],
)
def test_a_missed_goal_is_named(costs: Costs, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert costs.misses(goals_for(3)) == [said]
    assert not show(costs, goals_for(3), "3 hosts")
    assert said in " ".join(capsys.readouterr().out.split())


def test_all_goals_reached(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(WELL, goals_for(3), "3 hosts")
    assert "20.0 times as long" in capsys.readouterr().out


def test_many_hosts_may_take_longer() -> None:
    assert goals_for(100).plan == goals_for(100).install == 30.0
    assert goals_for(3).plan < goals_for(100).plan


def test_plain_ansible_is_told_of_nothing_but_directories(tmp_path: Path) -> None:
    file = tmp_path / "ansible.cfg"
    file.write_text(_configuration(), encoding="utf-8")
    config = ConfigManager(str(file))
    assert config.get_config_value("DEFAULT_FORKS") == 5
    assert config.get_config_value("DEFAULT_STRATEGY") == "linear"
    assert config.get_config_value("ANSIBLE_PIPELINING") is False
    assert [Path(path).name for path in config.get_config_value("DEFAULT_ROLES_PATH")] == ["roles"]
    assert Path(config.get_config_value("DEFAULT_ACTION_PLUGIN_PATH")[0]).is_dir()


def test_plain_ansible_does_the_same_stages_and_no_other() -> None:
    assert [play["tags"] for play in plays("base")] == [["always"], ["base"]]
    tags = {tag for play in plays("") for tag in cast("list[str]", play["tags"])}
    assert tags == {"always", *stage_names(runner=Runner.ANSIBLE)}


def test_memory_of_processes_that_detach_themselves_counts() -> None:
    child = f"import os, time\nif os.fork(): os._exit(0)\nos.setsid()\n{HOLD}\ntime.sleep(1)"
    whole = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {child!r}])\ntime.sleep(1)"
    assert peak_memory([sys.executable, "-c", whole]) > 80_000_000


def test_a_failed_command_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"])
    assert run([sys.executable, "-c", "raise SystemExit(3)"], codes=(0, 3)).returncode == 3


def test_ways_differ_in_their_settings(tmp_path: Path) -> None:
    names = [way.name for way in ways()]
    assert names[0] == "linear, 5 forks, no pipelining"
    assert len(set(names)) == len(names)
    for way in ways():
        environment = way.environment(tmp_path)
        assert environment["ANSIBLE_FORKS"] == str(way.forks)
        assert environment["ANSIBLE_STRATEGY"] == way.strategy.name
        assert environment["ANSIBLE_PIPELINING"] == str(way.pipelining)
