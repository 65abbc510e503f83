from collections.abc import Callable, Iterator

import pytest
import urllib3
from kubernetes.client import ApiClient, Configuration

from llmprov.cluster import transport as module
from llmprov.cluster.client import Cluster
from llmprov.cluster.transport import Route
from tests.unit.cluster.fakeapi import FakeApi, serve


class Direct:
    """One way in; counts how often it was renewed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.renewed = 0

    def renew(self) -> str:
        self.renewed += 1
        return self.url


def cluster_at(url: str, route: Route, *, patience: float) -> Cluster:
    """Make a client."""
    client = ApiClient(Configuration(host=url))
    client.rest_client.pool_manager = urllib3.PoolManager(retries=False, maxsize=8)
    return Cluster(client, route, patience=patience)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    with serve(fake):
        yield fake


@pytest.fixture
def make(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cluster]:
    monkeypatch.setattr(module, "_PAUSE", 0.01)

    def factory(patience: float = 2.0, url: str = "", route: Direct | None = None) -> Cluster:
        return cluster_at(url or api.url, route or Direct(api.url), patience=patience)

    return factory


@pytest.fixture
def cluster(make: Callable[..., Cluster]) -> Cluster:
    return make()
