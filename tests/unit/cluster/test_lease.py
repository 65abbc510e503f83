"""The operators' Lease: one winner, the server's clock, takeover of the dead, and what a restored store does."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from llmprov.cluster.client import Cluster
from llmprov.cluster.lease import NAME, NAMESPACE, LeaseLock
from llmprov.errors import BusyError, ClusterError
from llmprov.holders import TAKEOVER_SECONDS, Holder, Process
from tests.unit.cluster.fakeapi import FakeApi

KEY = ("coordination.k8s.io/v1/leases", NAMESPACE, NAME)
ELSEWHERE = Process(machine="other", boot="other", pid=4711, started=99)


def holder(name: str) -> Holder:
    return Holder(user=name, host="ctl", verb="install", run_id=f"run-{name}", process=ELSEWHERE)


ANNA, BEN = holder("anna"), holder("ben")


def age(api: FakeApi, seconds: float) -> None:
    """Let the server's clock go on while nobody renews."""
    api.clock += timedelta(seconds=seconds)


def test_take_renew_release(cluster: Cluster, api: FakeApi) -> None:
    lock = LeaseLock()
    assert lock.take(cluster, ANNA) is None
    spec = api.objects[KEY]["spec"]
    assert spec["holderIdentity"] == ANNA.identity
    age(api, 30)
    lock.renew(cluster, ANNA)
    renewed = api.objects[KEY]["spec"]
    assert renewed["acquireTime"] == spec["acquireTime"]
    assert renewed["renewTime"] > spec["renewTime"]
    lock.release(cluster, ANNA)
    assert api.objects[KEY]["spec"]["holderIdentity"] == ""
    assert LeaseLock().take(cluster, BEN) is None


def test_who_comes_meanwhile_is_told_whom_to_wait_for(cluster: Cluster, api: FakeApi) -> None:
    LeaseLock().take(cluster, ANNA)
    age(api, 20)
    with pytest.raises(BusyError, match="anna@ctl is working on this cluster: install since") as caught:
        LeaseLock().take(cluster, BEN)
    assert "last sign of life 2" in caught.value.message
    assert "takes over in 4" in caught.value.remedy
    assert any("run-anna" in line for line in caught.value.details)


def test_of_many_at_once_one_wins(make: Callable[[], Cluster], api: FakeApi) -> None:
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    start = threading.Barrier(8)
    won: list[str] = []
    lost: list[str] = []

    def compete(name: str) -> None:
        cluster, lock = make(), LeaseLock()
        start.wait()
        try:
            lock.take(cluster, holder(name))
            won.append(name)
        except BusyError:
            lost.append(name)

    threads = [threading.Thread(target=compete, args=(f"u{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    assert won[0] in api.objects[KEY]["spec"]["holderIdentity"]


def test_a_silent_holder_is_followed_by_one_of_many(make: Callable[[], Cluster], api: FakeApi) -> None:
    LeaseLock().take(make(), ANNA)
    age(api, TAKEOVER_SECONDS + 2)
    taken: list[str] = []

    def compete(name: str) -> None:
        try:
            other = LeaseLock().take(make(), holder(name))
        except BusyError:
            return
        taken.append(other.takeover if other else "nobody")

    threads = [threading.Thread(target=compete, args=(f"u{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert "took over the lock of anna@ctl (install, run run-anna)" in taken[0]
    assert "no sign of life for 1 min" in taken[0]


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_controllers_wrong_clock_decides_nothing(cluster: Cluster, api: FakeApi, ahead: int) -> None:
    api.clock = timedelta(seconds=ahead)
    LeaseLock().take(cluster, ANNA)
    with pytest.raises(BusyError):
        LeaseLock().take(cluster, BEN)


def test_a_dead_process_of_this_machine_is_followed_at_once(cluster: Cluster) -> None:
    dead = replace(ANNA, process=replace(Process.current(), started=1))
    LeaseLock().take(cluster, dead)
    other = LeaseLock().take(cluster, BEN)
    assert other is not None
    assert other.takeover.endswith("is gone")


def test_who_was_taken_over_notices_also_after_the_other_has_finished(cluster: Cluster, api: FakeApi) -> None:
    anna, ben = LeaseLock(), LeaseLock()
    anna.take(cluster, ANNA)
    age(api, TAKEOVER_SECONDS + 2)
    ben.take(cluster, BEN)
    with pytest.raises(BusyError, match="ben@ctl has taken over"):
        anna.renew(cluster, ANNA)
    anna.release(cluster, ANNA)
    assert api.objects[KEY]["spec"]["holderIdentity"] == BEN.identity
    ben.release(cluster, BEN)
    with pytest.raises(BusyError, match="and has finished"):
        anna.renew(cluster, ANNA)


def test_a_restored_store_brings_no_new_operator(cluster: Cluster, api: FakeApi) -> None:
    LeaseLock().take(cluster, BEN)
    snapshot = dict(api.objects[KEY])
    age(api, TAKEOVER_SECONDS + 2)
    lock = LeaseLock()
    lock.take(cluster, ANNA)
    api.put(snapshot)
    lock.renew(cluster, ANNA)
    assert api.objects[KEY]["spec"]["holderIdentity"] == ANNA.identity
    api.remove(KEY)
    lock.renew(cluster, ANNA)
    assert api.objects[KEY]["spec"]["holderIdentity"] == ANNA.identity


def test_a_lease_that_somebody_else_made_is_unknown_not_free(cluster: Cluster, api: FakeApi) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": "controller-7", "acquireTime": now, "renewTime": now, "leaseTransitions": None}
    meta = {"name": NAME, "namespace": NAMESPACE}
    api.put({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec})
    with pytest.raises(BusyError, match="unknown@unknown"):
        LeaseLock().take(cluster, ANNA)


def test_an_api_that_refuses_is_an_error(cluster: Cluster, api: FakeApi) -> None:
    api.faults = [403]
    with pytest.raises(ClusterError, match=r"create Lease kube-system/llmprov: .* 403"):
        LeaseLock().take(cluster, ANNA)
