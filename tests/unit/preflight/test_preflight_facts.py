"""The module's own code, run here: it reads the real kernel, and loopback stands for the other hosts."""

import ast
import importlib.util
import json
import socket
from pathlib import Path
from types import ModuleType

from llmprov.paths import content_root
from llmprov.preflight import HostFacts
from tests.unit.preflight.conftest import fit

# As an H200 machine's bus shows itself: bridge, disk, GPU.
BUS = """
0000:00:00.0 0x8086 0x0d57 0x060000
0000:00:01.0 0x1af4 0x1042 0x018000
0000:00:06.0 0x10de 0x2335 0x030200
0000:00:07.0 0x10de 0x22a3 0x068000
"""


def _load(name: str) -> ModuleType:
    file = content_root() / "plugins" / "module_utils" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


system = _load("llmprov_facts_system")
network = _load("llmprov_facts_network")
peers = _load("llmprov_facts_peers")


def test_gpus_are_told_from_bridges_and_switches(tmp_path: Path) -> None:
    for line in BUS.split("\n"):
        if line:
            address, vendor, device, kind = line.split()
            (tmp_path / address).mkdir()
            for name, value in (("vendor", vendor), ("device", device), ("class", kind)):
                (tmp_path / address / name).write_text(value + "\n", encoding="utf-8")
    driver = tmp_path / "drivers" / "nouveau"
    driver.mkdir(parents=True)
    (tmp_path / "0000:00:06.0" / "driver").symlink_to(driver)
    expected = {"address": "0000:00:06.0", "device": "0x2335", "class": "0x030200", "driver": "nouveau"}
    assert system.gpus(tmp_path) == [expected]


def test_stages_come_from_their_records(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps({"schema": 1, "stage": "base"}), encoding="utf-8")
    (tmp_path / "torn.json").write_text("{", encoding="utf-8")
    assert system.stages(tmp_path) == ["base"]


def test_the_facts_of_this_machine_fit_their_model() -> None:
    facts = {
        **fit("cp1"),
        "os": system.operating_system(),
        "identity": system.identity(),
        "memory": system.memory(),
        "cgroups": system.control_groups(),
        "features": system.features(["overlay", "no_such_feature"]),
        "disks": system.disks(["/var/lib/no/such/directory"]),
        "remains": system.remains(),
        "interfaces": network.interfaces(),
    }
    seen = HostFacts.model_validate(facts)
    assert seen.memory.total >= seen.memory.available > 0
    assert seen.features["no_such_feature"] == "missing"
    assert seen.disks[0].size >= seen.disks[0].free
    assert "lo" in {interface.name for interface in seen.interfaces}
    assert seen.cgroups.version in {1, 2}


def test_listeners_name_their_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (found,) = network.listeners([port, 1])
    assert found["port"] == port
    assert found["process"] == Path(f"/proc/{found['pid']}/comm").read_text(encoding="utf-8").strip()
    assert network.listeners([port]) == []


def test_peers_that_answer_refuse_or_have_no_route() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        open_port, shut_port = server.getsockname()[1], closed.getsockname()[1]
        targets: list[dict[str, object]] = [
            {"name": "a", "address": "127.0.0.1", "port": open_port},
            {"name": "b", "address": "127.0.0.1", "port": shut_port},
            {"name": "c", "address": "255.255.255.255", "port": 22},
        ]
        answers = {item["name"]: item for item in peers.reach(targets, network.mtu_by_address(), 0.3)}
    assert answers["a"]["tcp"] == "open"
    assert answers["a"]["mtu"] == 65536
    assert answers["b"]["tcp"] == "refused"
    assert answers["c"]["tcp"] not in {"open", "refused"}


def test_names_that_do_not_resolve_are_empty() -> None:
    assert network.resolve(["localhost", "no-such-name.invalid"], 5)["no-such-name.invalid"] == []
    assert network.resolve(["localhost"], 5)["localhost"]


def test_the_checksum_of_an_echo_request() -> None:
    # An echo request from RFC 1071's rule: the sum over a packet with its checksum is zero.
    packet = b"\x08\x00\x00\x00\x12\x34\x00\x01odd"
    checksum = peers._checksum(packet)
    assert peers._checksum(packet[:2] + checksum.to_bytes(2, "big") + packet[4:]) == 0


def test_the_module_needs_nothing_newer_than_python_3_9() -> None:
    # 3.10 and later would be the grammar of match, parenthesised contexts and X | Y at run time.
    plugins = content_root() / "plugins"
    files = [plugins / "modules" / "preflight_facts.py", *(plugins / "module_utils").glob("llmprov_facts_*.py")]
    assert len(files) >= 4
    for file in files:
        text = file.read_text(encoding="utf-8")
        ast.parse(text, feature_version=(3, 9))
        assert "from __future__ import annotations" in text
