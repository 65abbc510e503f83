from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3
from kubernetes.client import ApiClient, Configuration

from llmprov.cluster import transport as module
from llmprov.cluster.client import Cluster
from tests.unit.cluster.fakeapi import FakeApi, serve


class Direct:
    """One way in; counts how often it was renewed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.renewed = 0

    def renew(self) -> str:
        self.renewed += 1
        return self.url


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    with serve(fake):
        yield fake


@pytest.fixture
def make(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cluster]:
    monkeypatch.setattr(module, "_PAUSE", 0.01)

    def factory(patience: float = 2.0, url: str = "", route: Direct | None = None) -> Cluster:
        client = ApiClient(Configuration(host=url or api.url))
        client.rest_client.pool_manager = urllib3.PoolManager(retries=False)
        return Cluster(client, route or Direct(api.url), cache=tmp_path / "discovery.json", patience=patience)

    return factory


@pytest.fixture
def cluster(make: Callable[..., Cluster]) -> Cluster:
    return make()
