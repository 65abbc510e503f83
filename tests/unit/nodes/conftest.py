import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmprov.cli import node as verb
from llmprov.cluster import etcd as real_etcd
from llmprov.cluster.client import Cluster
from llmprov.cluster.etcd import Member
from llmprov.inventory import ClusterSettings, Host, Inventory
from llmprov.progress import Progress
from llmprov.results import ResetResult
from llmprov.runner import HostOutcome, RunResult
from llmprov.ssh import SshTarget
from llmprov.workflows import node_hosts, nodes
from llmprov.workflows import reset as real_reset
from tests.unit.alone import work_alone
from tests.unit.models.conftest import api, cluster
from tests.unit.ssh.fakessh import FakeSsh, install

__all__ = ["api", "cluster"]

SETTINGS = {
    "name": "test",
    "first_control_plane": "cp1",
    "api_host": "127.0.0.1",
    "api_port": 6443,
    "pod_cidr": "10.244.0.0/16",
    "service_cidr": "10.96.0.0/12",
    "dns_domain": "cluster.local",
    "bundle_dir": "/nowhere",
    "registry_host": "127.0.0.1",
    "registry_port": 5000,
    "gpu_mode": "simulated",
    "simulated_gpus": 2,
    "network_backend": "host-gw",
}


@dataclass
class Members:
    """Etcd's members, as a living one knows them."""

    names: list[str] = field(default_factory=lambda: ["cp1", "cp2", "cp3"])

    def members(self) -> tuple[Member, ...]:
        return tuple(Member(ID=str(number), name=name) for number, name in enumerate(self.names))

    def remove(self, member: Member) -> None:
        self.names.remove(member.name)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where journals are."""
    return tmp_path / "state"


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    """Hosts are this machine, reached by the stand-in for `ssh`."""
    return install(tmp_path / "bin", monkeypatch, path=os.environ["PATH"])


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    def host(name: str, group: str) -> Host:
        target = SshTarget(name, user=getpass.getuser())
        return Host(name=name, address="127.0.0.1", node_address="127.0.0.1", groups=frozenset({group}), ssh=target)

    planes = [host(name, "control_plane") for name in ("cp1", "cp2", "cp3")]
    workers = [host(name, "workers") for name in ("gpu1", "gpu2")]
    settings = ClusterSettings.model_validate(SETTINGS)
    return Inventory(path=tmp_path, hosts=(*planes, *workers), settings=settings)


@pytest.fixture
def etcd() -> Members:
    return Members()


@pytest.fixture
def resets() -> list[str]:
    """The hosts that were reset."""
    return []


@pytest.fixture(autouse=True)
def _wired(
    monkeypatch: pytest.MonkeyPatch,
    inventory: Inventory,
    cluster: Cluster,
    etcd: Members,
    resets: list[str],
    hosts: FakeSsh,
    state: Path,
) -> None:
    monkeypatch.setenv("LLMPROV_PROGRESS", "silent")
    assert hosts.calls == []

    @contextmanager
    def opened(_inventory: Inventory) -> Iterator[Cluster]:
        yield cluster

    @contextmanager
    def connected(_plane: object) -> Iterator[Members]:
        yield etcd

    def reset(_inventory: Inventory, _progress: Progress, *, limit: str, on_output: object) -> ResetResult:
        assert on_output is None
        resets.append(limit)
        return ResetResult(RunResult(0, 1.0, (HostOutcome(limit),)), 1.0)

    monkeypatch.setenv("LLMPROV_STATE_DIR", str(state))
    work_alone(monkeypatch)
    monkeypatch.setattr(verb, "load", lambda _: inventory)
    for workflow in (nodes, node_hosts):
        monkeypatch.setattr(workflow, "open_cluster", opened)
    monkeypatch.setattr(real_etcd, "connect", connected)
    monkeypatch.setattr(real_reset, "reset", reset)
