"""The operators' Lease against a real API server: its clock, its conflicts, its way with null and empty fields."""

import threading
from collections.abc import Callable, Iterator

import pytest

from llmprov.cluster.client import Cluster
from llmprov.cluster.credentials import Credentials
from llmprov.cluster.lease import NAME, NAMESPACE, LeaseLock
from llmprov.cluster.objects import Kind
from llmprov.cluster.session import api_client
from llmprov.errors import BusyError
from llmprov.holders import TAKEOVER_SECONDS, Holder, Process

LEASE = Kind("coordination.k8s.io/v1", "Lease")


class _Direct:
    def __init__(self, url: str) -> None:
        self._url = url

    def renew(self) -> str:
        return self._url


def holder(name: str) -> Holder:
    process = Process(machine="other", boot="other", pid=4711, started=99)
    return Holder(user=name, host="ctl", verb="install", run_id=f"run-{name}", process=process)


@pytest.fixture
def make(credentials: Credentials) -> Callable[[], Cluster]:
    url = f"https://127.0.0.1:{credentials.port}"
    return lambda: Cluster(api_client(url, credentials), _Direct(url), patience=10)


@pytest.fixture(autouse=True)
def _fresh(cluster: Cluster) -> Iterator[None]:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, force=True)
    cluster.delete(LEASE, NAME, NAMESPACE)
    yield
    cluster.delete(LEASE, NAME, NAMESPACE)


def _spec(cluster: Cluster) -> dict[str, object]:
    found = cluster.get(LEASE, NAME, NAMESPACE)
    assert found is not None
    spec = found["spec"]
    assert isinstance(spec, dict)
    return spec


def test_take_renew_release_take(cluster: Cluster) -> None:
    anna, ben = LeaseLock(), LeaseLock()
    assert anna.take(cluster, holder("anna")) is None
    first = _spec(cluster)
    assert first["holderIdentity"] == holder("anna").identity
    assert first["leaseDurationSeconds"] == TAKEOVER_SECONDS
    anna.renew(cluster, holder("anna"))
    assert _spec(cluster)["acquireTime"] == first["acquireTime"]
    with pytest.raises(BusyError, match="anna@ctl is working"):
        ben.take(cluster, holder("ben"))
    anna.release(cluster, holder("anna"))
    assert ben.take(cluster, holder("ben")) is None
    with pytest.raises(BusyError, match="ben@ctl has taken over"):
        anna.renew(cluster, holder("anna"))
    ben.release(cluster, holder("ben"))


def test_asking_for_the_time_leaves_nothing(cluster: Cluster) -> None:
    LeaseLock().take(cluster, holder("anna"))
    names = [item["metadata"] for item in cluster.list(LEASE, NAMESPACE).items]
    assert [meta["name"] for meta in names if isinstance(meta, dict) and "llmprov" in meta["name"]] == [NAME]


@pytest.mark.parametrize("before", ["nobody", "abandoned"])
def test_of_many_at_once_one_wins(cluster: Cluster, make: Callable[[], Cluster], before: str) -> None:
    if before == "abandoned":
        LeaseLock().take(cluster, holder("old"))
        long_ago = "2026-01-01T00:00:00.000000Z"
        cluster.merge(LEASE, NAME, {"spec": {"renewTime": long_ago, "acquireTime": long_ago}}, namespace=NAMESPACE)
    start = threading.Barrier(8)
    won: list[str] = []

    def compete(name: str) -> None:
        own, lock = make(), LeaseLock()
        start.wait()
        try:
            other = lock.take(own, holder(name))
        except BusyError:
            return
        won.append(name)
        assert (other is not None) == (before == "abandoned")

    threads = [threading.Thread(target=compete, args=(f"u{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert won[0] in str(_spec(cluster)["holderIdentity"])
