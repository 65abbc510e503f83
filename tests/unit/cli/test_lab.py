"""`llmprov lab`: how options become a lab, and what is printed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmprov.cli.main import app
from llmprov.errors import LabError
from llmprov.lab import lifecycle, store
from llmprov.lab.lifecycle import HostStatus, LabStatus, UpResult
from llmprov.lab.spec import LabSpec, build, of_size

STATUS = LabStatus(
    name="unit",
    inventories=("/srv/inventories/lab",),
    hosts=(
        HostStatus("cp1", "10.77.0.11", ("control_plane",), "trixie", "ready", "4G", None),
        HostStatus("gpu1", "10.77.0.21", ("gpu_workers",), "bookworm", "off", None, "2G"),
    ),
)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[LabSpec, Path]]:
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LLMPROV_PROGRESS", "silent")
    calls: list[tuple[LabSpec, Path]] = []

    def up(spec: LabSpec, inventory: Path, _: object) -> UpResult:
        calls.append((spec, inventory))
        return UpResult(STATUS, (("base", 0.0), ("boot to SSH", 1.54)))

    monkeypatch.setattr(lifecycle, "up", up)
    monkeypatch.setattr(lifecycle, "status", lambda _: STATUS)
    return calls


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["lab", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_up_without_options_is_three_hosts_in_the_lab_inventory(asked: list[tuple[LabSpec, Path]]) -> None:
    printed = _run("up")
    spec, inventory = asked[0]
    assert [host.name for host in spec.hosts] == ["cp1", "gpu1", "gpu2"]
    assert spec.name == "default"
    assert inventory == Path("inventories/lab")
    assert "boot to SSH 1.5 s" in printed
    assert "ansible -i /srv/inventories/lab all -m ping" in printed


def test_options_override_the_file(asked: list[tuple[LabSpec, Path]], tmp_path: Path) -> None:
    file = tmp_path / "lab.yml"
    file.write_text("name: one\nbase: trixie\nhosts: {cp1: {}}\n")
    _run("up", "-f", str(file), "--name", "two", "--base", "bookworm", "--subnet", "10.90.0.0/24")
    spec, inventory = asked[0]
    assert (spec.name, spec.base, str(spec.subnet)) == ("two", "bookworm", "10.90.0.0/24")
    assert inventory == Path("inventories/lab-two")


def test_up_again_without_options_is_the_lab_as_it_is(asked: list[tuple[LabSpec, Path]]) -> None:
    existing = build({"name": "kept", "hosts": of_size(5)})
    store.save_spec(existing)
    _run("up", "--name", "kept")
    assert asked[0][0] == existing


def test_hosts_and_file_exclude_each_other(asked: list[tuple[LabSpec, Path]]) -> None:
    result = CliRunner().invoke(app, ["lab", "up", "--hosts", "2", "-f", "lab.yml"])
    assert result.exit_code == 2
    assert asked == []


@pytest.mark.usefixtures("asked")
def test_results_are_also_json() -> None:
    up = json.loads(_run("up", "--json"))
    assert up["phases"] == [{"phase": "base", "seconds": 0.0}, {"phase": "boot to SSH", "seconds": 1.54}]
    status = json.loads(_run("status", "--json"))
    assert [(host["name"], host["state"], host["disk"]) for host in status["hosts"]] == [
        ("cp1", "ready", None),
        ("gpu1", "off", "2G"),
    ]


@pytest.mark.usefixtures("asked")
def test_status_is_a_table() -> None:
    printed = _run("status")
    for word in ("cp1", "10.77.0.21", "gpu_workers", "bookworm", "ready", "off", "4G", "2G"):
        assert word in printed


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (("start", "gpu1"), "start x gpu1"),
        (("reboot", "gpu1"), "reboot x gpu1"),
        (("cut", "gpu1"), "cut x gpu1"),
        (("heal", "gpu1"), "heal x gpu1"),
        (("poweroff", "gpu1"), "poweroff x gpu1 hard=False"),
        (("poweroff", "--hard", "gpu1"), "poweroff x gpu1 hard=True"),
        (("down",), "down x"),
        (("destroy",), "destroy x"),
    ],
)
@pytest.mark.usefixtures("asked")
def test_each_verb_calls_its_workflow(arguments: tuple[str, ...], call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def record(verb: str) -> Callable[..., None]:
        def called(*names: object, hard: bool | None = None, **_: object) -> None:
            words = [verb, *(name for name in names if isinstance(name, str))]
            calls.append(" ".join(words) + ("" if hard is None else f" hard={hard}"))

        return called

    for verb in ("start", "reboot", "cut", "heal", "poweroff", "down", "destroy"):
        monkeypatch.setattr(lifecycle, verb, record(verb))
    verb, *rest = arguments
    _run(verb, "--name", "x", *rest)
    assert calls == [call]


@pytest.mark.usefixtures("asked")
def test_ssh_becomes_ssh_with_the_labs_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    store.save_spec(build({"name": "unit", "hosts": of_size(1)}))
    called: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda _, arguments: called.append(arguments))
    _run("ssh", "--name", "unit", "cp1", "ls", "-la", "--name")
    assert called == [["ssh", "-F", str(store.files("unit").ssh_config), "cp1", "ls", "-la", "--name"]]
    with pytest.raises(LabError, match="has no host gpu9"):
        CliRunner().invoke(app, ["lab", "ssh", "--name", "unit", "gpu9"], catch_exceptions=False)
