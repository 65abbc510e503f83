from collections.abc import Sequence
from threading import Timer

import pytest

from llmprov.cluster.apply import apply_set
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import SET
from llmprov.cluster.objects import Kind
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError
from llmprov.progress import NullProgress
from tests.unit.cluster.fakeapi import FakeApi

CONFIG = Kind("v1", "ConfigMap")
SPACE: dict[str, object] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}


def config(name: str, namespace: str = "ns", **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def test_created_changed_unchanged_pruned(cluster: Cluster) -> None:
    applied = apply_set(cluster, "s", [config("a", v="1"), config("b"), SPACE], NullProgress())
    assert applied.created == ("Namespace ns", "ConfigMap ns/a", "ConfigMap ns/b")
    assert apply_set(cluster, "s", [config("a", v="1"), config("b"), SPACE], NullProgress()).changes == 0
    applied = apply_set(cluster, "s", [config("a", v="2")], NullProgress())
    assert (applied.changed, applied.pruned) == (("ConfigMap ns/a",), ("ConfigMap ns/b",))
    assert cluster.get(Kind("v1", "Namespace"), "ns") is not None, "a namespace is never pruned"


def test_objects_of_others_are_not_pruned(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, config("a")], NullProgress())
    foreign = config("theirs")
    api.put({**foreign, "metadata": {"name": "theirs", "namespace": "ns", "labels": {SET: "s"}}})
    apply_set(cluster, "s", [SPACE], NullProgress())
    assert cluster.get(CONFIG, "theirs", "ns") is not None
    assert cluster.get(CONFIG, "a", "ns") is None


def test_all_refusals_at_once_and_nothing_is_pruned_then(cluster: Cluster) -> None:
    apply_set(cluster, "s", [SPACE, config("old")], NullProgress())
    with pytest.raises(ClusterError) as caught:
        apply_set(cluster, "s", [SPACE, config("x", "gone"), config("y", "gone")], NullProgress())
    assert "2 objects of s" in caught.value.message
    assert sum("gone/" in line for line in caught.value.details) == 2
    assert cluster.get(CONFIG, "old", "ns") is not None


def test_one_refusal_is_its_own_error(cluster: Cluster, api: FakeApi) -> None:
    api.conflict = "a"
    with pytest.raises(ClusterError, match="ConfigMap ns/a: somebody else"):
        apply_set(cluster, "s", [SPACE, config("a")], NullProgress())


def test_a_refused_namespace_ends_it(cluster: Cluster, api: FakeApi) -> None:
    api.conflict = "ns"
    with pytest.raises(ClusterError, match="Namespace ns"):
        apply_set(cluster, "s", [SPACE, config("a")], NullProgress())


def test_waiting_ends_with_the_change(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, config("a")], NullProgress())
    Timer(0.05, lambda: api.put(config("late"))).start()

    def decide(items: Sequence[Object]) -> int | None:
        return len(items) if len(items) > 1 else None

    assert watch_until(cluster, Selection(CONFIG, "ns"), decide, seconds=5) == 2


def test_waiting_sees_deletions_and_survives_an_expired_watch(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, config("a")], NullProgress())
    api.expire_watches = 1
    Timer(0.05, lambda: api.remove(("v1/configmaps", "ns", "a"))).start()
    assert watch_until(cluster, Selection(CONFIG, "ns"), lambda items: None if items else "gone", seconds=5) == "gone"


def test_waiting_gives_up(cluster: Cluster) -> None:
    assert watch_until(cluster, Selection(CONFIG), lambda _: None, seconds=0.05) is None
