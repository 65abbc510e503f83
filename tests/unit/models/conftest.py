import getpass
import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.cluster.client import Cluster
from llmprov.inventory import ClusterSettings, Host, Inventory, ModelSpec
from llmprov.ssh import SshTarget
from tests.unit.bundle.servers import Registry, Web, registry_server, web_server
from tests.unit.cluster.conftest import Direct, cluster_at
from tests.unit.cluster.fakeapi import FakeApi, serve
from tests.unit.ssh.fakessh import FakeSsh, install

MODEL = {"name": "m", "source": {"artifact": "tiny"}}


@pytest.fixture(autouse=True)
def _private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPROV_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture(autouse=True)
def ssh_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    """Hosts are this machine, reached by the stand-in for `ssh`."""
    return install(tmp_path / "bin", monkeypatch, path=os.environ["PATH"])


@pytest.fixture
def registry() -> Iterator[Registry]:
    with registry_server() as running:
        yield running


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as running:
        yield running


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    with serve(fake):
        yield fake


@pytest.fixture
def cluster(api: FakeApi) -> Cluster:
    return cluster_at(api.url, Direct(api.url), patience=1)


@pytest.fixture
def make_inventory(tmp_path: Path) -> Callable[..., Inventory]:
    def make(*models: dict[str, object], push_port: int = 1, gpu_mode: str = "simulated") -> Inventory:
        def host(name: str, *groups: str) -> Host:
            return Host.model_validate(
                {
                    "name": name,
                    "address": "127.0.0.1",
                    "node_address": "127.0.0.1",
                    "groups": frozenset(groups),
                    "ssh": SshTarget(name, user=getpass.getuser()),
                    "sudo_password": lambda: "s3cret",
                    "variables": {"registry_push_port": push_port},
                }
            )

        settings = ClusterSettings.model_validate(
            {
                "name": "test",
                "first_control_plane": "cp1",
                "api_host": "127.0.0.1",
                "api_port": 6443,
                "pod_cidr": "10.244.0.0/16",
                "service_cidr": "10.96.0.0/16",
                "dns_domain": "cluster.local",
                "bundle_dir": tmp_path / "bundle",
                "registry_host": "127.0.0.1",
                "registry_port": 5000,
                "gpu_mode": gpu_mode,
                "simulated_gpus": 2,
                "network_backend": "host-gw",
            }
        )
        hosts = (host("cp1", "control_plane"), host("gpu1", "workers", "gpu_workers"))
        specs = tuple(ModelSpec.model_validate(model) for model in models or (MODEL,))
        return Inventory(path=tmp_path, hosts=hosts, settings=settings, models=specs)

    return make


@pytest.fixture
def lock() -> BundleLock:
    def image(name: str, ref: str) -> LockedArtifact:
        digest = name[0].encode().hex() * 32
        return LockedArtifact(
            kind="image", name=name, version="1", source="s", sha256=digest, size=1, licence="MIT", ref=ref
        )

    return BundleLock.of(
        "test",
        [
            image("vllm", "docker.io/vllm/vllm-openai:v1"),
            image("flannel", "llmprov.internal/flannel:v0.28"),
            image("tiny", "llmprov.internal/models/tiny:1"),
        ],
    )


def safetensors(path: Path, size: int = 64, *, cut: int = 0) -> None:
    """Write a well-formed file with one tensor of `size` bytes, less `cut` of them."""
    header = json.dumps({"__metadata__": {}, "t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(range(256)) * (size // 256) + bytes(size % 256))
    if cut:
        os.truncate(path, path.stat().st_size - cut)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A whole model of two shards."""
    directory = tmp_path / "weights"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name in names:
        safetensors(directory / name)
    index = {"weight_map": {f"t{number}": name for number, name in enumerate(names)}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory
