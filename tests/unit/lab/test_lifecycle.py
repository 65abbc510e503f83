"""The verbs' order of work and their refusals; hosts are switched by flags here, tests/lab boots real ones."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmprov.errors import LabError
from llmprov.lab import base, lifecycle, network, requirements, store
from llmprov.lab.cgroups import HostGroup
from llmprov.lab.host import Host
from llmprov.lab.spec import HostSpec, LabSpec, build
from llmprov.progress import NullProgress, NullStep, Step


class Switches:
    """What each host does when it is asked; every request is remembered."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.cut: set[str] = set()
        self.deaf: set[str] = set()
        self.stuck: set[str] = set()
        self.log: list[str] = []

    def switch(self, how: str, host: Host) -> None:
        """Take a request; a stuck host ignores all but a cut of its power."""
        self.log.append(f"{how} {host.name}")
        if how == "start" and host.name not in self.stuck:
            self.running.add(host.name)
        elif how == "cut power" or (how == "ask" and host.name not in self.stuck):
            self.running.discard(host.name)


class Notes(NullProgress):
    """Remembers what a workflow says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[Step]:
        self.said.append(f"{name}: {detail}")
        yield NullStep()

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def switches(home: Path, monkeypatch: pytest.MonkeyPatch) -> Switches:
    state = Switches()
    base_root = home / "base"
    base_root.mkdir()
    monkeypatch.setattr(requirements, "check", lambda: None)
    monkeypatch.setattr(base, "ensure", lambda *_: base_root)
    monkeypatch.setattr(Host, "make", lambda *_: None)
    monkeypatch.setattr(Host, "public_key", lambda host: f"ssh-ed25519 {host.name}")
    monkeypatch.setattr(Host, "start", lambda host: state.switch("start", host))
    monkeypatch.setattr(Host, "ask_poweroff", lambda host: state.switch("ask", host))
    monkeypatch.setattr(Host, "cut_power", lambda host: state.switch("cut power", host))
    monkeypatch.setattr(Host, "is_running", lambda host: host.name in state.running)
    monkeypatch.setattr(Host, "refuses_users", lambda _: False)
    monkeypatch.setattr(Host, "leader", lambda host: 4711 if host.name in state.running else None)
    monkeypatch.setattr(network, "create", lambda *_: state.log.append("network"))
    monkeypatch.setattr(network, "is_cut", lambda _, host: host.name in state.cut)
    monkeypatch.setattr(network, "cut", lambda _, host: state.cut.add(host.name))
    monkeypatch.setattr(network, "heal", lambda _, host: state.cut.discard(host.name))
    monkeypatch.setattr(
        network, "ssh_answers", lambda _, host: host.name in state.running and host.name not in state.deaf
    )
    monkeypatch.setattr(lifecycle, "hosts_of", lambda _: set())
    for name in ("_SSH_TIMEOUT_S", "_POWEROFF_TIMEOUT_S"):
        monkeypatch.setattr(lifecycle, name, 0.1)
    return state


def _states(name: str = "unit") -> dict[str, str]:
    return {host.name: host.state for host in lifecycle.status(name).hosts}


def test_up_makes_writes_starts_and_waits(switches: Switches, spec: LabSpec, home: Path) -> None:
    result = lifecycle.up(spec, home / "inventory")
    assert switches.log == ["network", "start cp1", "start gpu1", "start gpu2"]
    assert [name for name, _ in result.phases] == ["base", "files and network", "boot to SSH"]
    assert result.status.inventories == (str(home / "inventory"),)
    assert _states() == {"cp1": "ready", "gpu1": "ready", "gpu2": "ready"}
    assert store.load_spec("unit") == spec


def test_many_hosts_boot_some_at_a_time(
    switches: Switches, spec: LabSpec, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(_: Path, host: HostSpec) -> bool:
        switches.log.append(f"ask {host.name}")
        return True

    monkeypatch.setattr(lifecycle, "_AT_ONCE", 2)
    monkeypatch.setattr(network, "ssh_answers", answers)
    lifecycle.up(spec, home / "inventory")
    assert switches.log[1:7] == ["start cp1", "start gpu1", "ask cp1", "ask gpu1", "start gpu2", "ask gpu2"]


def test_a_lab_may_grow_but_not_change_or_shrink(switches: Switches, spec: LabSpec, home: Path) -> None:
    lifecycle.up(spec, home / "inventory")
    grown = build(spec.model_dump(mode="json") | {"hosts": [*spec.model_dump(mode="json")["hosts"], {"name": "gpu3"}]})
    lifecycle.up(grown, home / "inventory")
    assert "start gpu3" in switches.log
    with pytest.raises(LabError) as caught:
        lifecycle.up(spec.model_copy(update={"sudo_password": "x"}), home / "inventory")
    assert caught.value.details == ("host gpu3 differs or is left out", "sudo_password differs")
    assert "destroy --name unit" in caught.value.remedy


@pytest.mark.usefixtures("switches")
def test_directories_to_bind_must_exist(home: Path) -> None:
    spec = build({"name": "unit", "hosts": {"cp1": {"binds": {"/srv": str(home / "missing")}}}})
    with pytest.raises(LabError) as caught:
        lifecycle.up(spec, home / "inventory")
    assert caught.value.details == (f"host cp1: {home}/missing (for /srv)",)
    assert store.find_spec("unit") is None


def test_a_host_that_stops_or_stays_silent_is_named(switches: Switches, spec: LabSpec, home: Path) -> None:
    switches.stuck.add("gpu1")
    console = store.files("unit").host("gpu1").console
    console.parent.mkdir(parents=True)
    console.write_text("mount: no such device\n")
    with pytest.raises(LabError, match="gpu1 stopped while booting") as caught:
        lifecycle.up(spec, home / "inventory")
    assert caught.value.details == ("mount: no such device",)
    switches.stuck.clear()
    switches.deaf.add("gpu1")
    with pytest.raises(LabError, match=r"no SSH after .* gpu1") as caught:
        lifecycle.up(spec, home / "inventory")
    assert caught.value.details == ("gpu1: mount: no such device",)
    assert _states()["gpu1"] == "booting"


def test_a_cut_host_is_not_waited_for(switches: Switches, spec: LabSpec, home: Path) -> None:
    lifecycle.up(spec, home / "inventory")
    lifecycle.cut("unit", "gpu2")
    switches.deaf.add("gpu2")
    lifecycle.up(spec, home / "inventory")
    assert _states()["gpu2"] == "cut"
    switches.deaf.clear()
    lifecycle.heal("unit", "gpu2")
    assert _states()["gpu2"] == "ready"


def test_down_asks_every_host_before_it_waits_for_one(switches: Switches, spec: LabSpec, home: Path) -> None:
    lifecycle.up(spec, home / "inventory")
    switches.log.clear()
    switches.stuck.add("gpu1")
    notes = Notes()
    lifecycle.down("unit", notes)
    assert switches.log[:3] == ["ask cp1", "ask gpu1", "ask gpu2"]
    assert any("gpu1 did not power off" in line for line in notes.said)
    assert _states() == dict.fromkeys(("cp1", "gpu1", "gpu2"), "off")


def test_one_host_is_switched_off_and_on(switches: Switches, spec: LabSpec, home: Path) -> None:
    lifecycle.up(spec, home / "inventory")
    switches.log.clear()
    lifecycle.poweroff("unit", "gpu1", hard=False)
    lifecycle.poweroff("unit", "gpu2", hard=True)
    assert switches.log == ["ask gpu1", "cut power gpu1", "cut power gpu2"]
    lifecycle.start("unit", "gpu1")
    assert _states() == {"cp1": "ready", "gpu1": "ready", "gpu2": "off"}


def test_a_reboot_is_seen_by_a_new_first_process(
    switches: Switches, spec: LabSpec, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle.up(spec, home / "inventory")
    leaders = iter([100, 100, None, 200])
    monkeypatch.setattr(Host, "leader", lambda _: next(leaders))
    monkeypatch.setattr(Host, "reboot", lambda host: switches.log.append(f"reboot {host.name}"))
    monkeypatch.setattr(lifecycle, "_SSH_TIMEOUT_S", 5)
    lifecycle.reboot("unit", "gpu1")
    assert switches.log[-1] == "reboot gpu1"
    monkeypatch.setattr(Host, "leader", lambda _: 200)
    monkeypatch.setattr(lifecycle, "_SSH_TIMEOUT_S", 0.1)
    with pytest.raises(LabError, match="gpu1 did not reboot"):
        lifecycle.reboot("unit", "gpu1")


def test_destroy_removes_everything_and_may_be_repeated(switches: Switches, spec: LabSpec, home: Path) -> None:
    lifecycle.up(spec, home / "inventory")
    lifecycle.destroy("unit")
    assert [line for line in switches.log if line.startswith("cut power")] == [
        "cut power cp1",
        "cut power gpu1",
        "cut power gpu2",
    ]
    assert not (home / "inventory").exists()
    assert list((home / "state" / "lab").iterdir()) == []
    lifecycle.destroy("unit")


@pytest.mark.usefixtures("switches")
def test_destroy_finds_hosts_whose_files_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(lifecycle, "hosts_of", lambda _: {"gpu1", "cp1"})
    monkeypatch.setattr(HostGroup, "kill", lambda group: ended.append(f"kill {group.host}"))
    monkeypatch.setattr(HostGroup, "remove", lambda group: ended.append(f"remove {group.host}"))
    lifecycle.destroy("unit")
    assert ended == ["kill cp1", "remove cp1", "kill gpu1", "remove gpu1"]


def test_a_half_written_lab_is_destroyed(switches: Switches) -> None:
    files = store.files("unit")
    files.network.mkdir(parents=True)
    (files.root / "lab.json.partial").write_text(json.dumps({}))
    lifecycle.destroy("unit")
    assert not files.root.exists()
    assert switches.log == []
