"""A cluster of fit hosts; tests spoil one fact at a time."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from llmprov.inventory import Inventory, load
from llmprov.preflight import Asked, Context, Finding, HostFacts, Needs, judge

GIB = 1024**3
ADDRESSES = {"cp1": "10.0.0.11", "gpu1": "10.0.0.21", "gpu2": "10.0.0.22"}
PATHS = ("/var/lib/llmprov", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/llmprov-registry")
type Judge = Callable[..., tuple[Finding, ...]]


def fit(name: str) -> dict[str, object]:
    """Return raw facts of a host without fault, as the module gives them."""
    number = list(ADDRESSES).index(name)
    return {
        "started": 1000.5,
        "ended": 1001.0,
        "os": {
            "id": "debian",
            "version": "13",
            "name": "Debian GNU/Linux 13",
            "arch": "x86_64",
            "kernel": "6.12.9-amd64",
        },
        "identity": {
            "hostname": name,
            "machine_id": f"{number:032x}",
            "product_uuid": f"4c4c4544-0000-0000-0000-{number:012x}",
            "container": "",
            "init": "systemd",
        },
        "python": "3.13.5",
        "system_state": "running",
        "cores": 64,
        "memory": {"total": 1024 * GIB, "available": 1000 * GIB, "swaps": [], "may_swapoff": True},
        "cgroups": {"version": 2, "controllers": ["cpu", "cpuset", "io", "memory", "pids"]},
        "features": dict.fromkeys(("overlay", "br_netfilter", "nf_conntrack", "nf_tables", "vxlan"), "loadable"),
        "disks": [
            {"path": path, "device": 1, "size": 2000 * GIB, "free": 1900 * GIB, "writable": True} for path in PATHS
        ],
        "gpus": gpus(8) if name != "cp1" else [],
        "remains": {"paths": [], "processes": [], "driver_packages": [], "driver_version": "", "nouveau": False},
        "stages": [],
        "time_service": "chronyd",
        "firewalls": [],
        "interfaces": [{"name": "lo", "mtu": 65536}, {"name": "eth0", "mtu": 9000}],
        "listeners": [],
        "names": {},
        "peers": [peer(other) for other in ADDRESSES if other != name],
    }


def gpus(count: int, driver: str = "nvidia") -> list[dict[str, object]]:
    """Return H200s as they stand on the PCI bus."""
    return [
        {"address": f"0000:{n:02x}:06.0", "device": "0x2335", "class": "0x030200", "driver": driver}
        for n in range(count)
    ]


def peer(name: str, **changes: object) -> dict[str, object]:
    """Return the way to a host that answers everything."""
    base = {"name": name, "address": ADDRESSES[name], "source": "10.0.0.1", "mtu": 9000}
    return {**base, "ping": "yes", "large": "yes", "tcp": "open", **changes}


def merged(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return facts with changes; dictionaries are merged one level deep."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return result


@pytest.fixture
def make_inventory(tmp_path: Path) -> Callable[..., Inventory]:
    """Return a function that loads an inventory of the three hosts."""

    def make(group_vars: str = "", *, model: str = "") -> Inventory:
        (tmp_path / "group_vars").mkdir(exist_ok=True)
        (tmp_path / "group_vars" / "all.yml").write_text(group_vars or "{}", encoding="utf-8")
        if model:
            (tmp_path / "models").mkdir(exist_ok=True)
            (tmp_path / "models" / "m.yml").write_text(model, encoding="utf-8")
        workers = "gpu1: {ansible_host: 10.0.0.21}, gpu2: {ansible_host: 10.0.0.22}"
        (tmp_path / "hosts.yml").write_text(
            "all: {children: {control_plane: {hosts: {cp1: {ansible_host: 10.0.0.11}}},"
            f" workers: {{children: {{gpu_workers: {{hosts: {{{workers}}}}}}}}}}}}}",
            encoding="utf-8",
        )
        return load(tmp_path)

    return make


@pytest.fixture
def judged(make_inventory: Callable[..., Inventory]) -> Judge:
    """Return a function that spoils hosts and returns the findings."""

    def run(
        *,
        group_vars: str = "",
        model: str = "",
        needs: Needs | None = None,
        asked: Mapping[str, Asked] | None = None,
        **changes: Mapping[str, object],
    ) -> tuple[Finding, ...]:
        facts = {name: HostFacts.model_validate(merged(fit(name), changes.get(name, {}))) for name in ADDRESSES}
        return judge(Context(make_inventory(group_vars, model=model), needs or Needs(), facts, asked or {}))

    return run
