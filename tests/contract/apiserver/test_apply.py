import time
from collections.abc import Sequence
from threading import Thread

import pytest

from llmprov.cluster.apply import apply_set
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import SET
from llmprov.cluster.objects import Header, Kind
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError
from llmprov.progress import NullProgress

CONFIG = Kind("v1", "ConfigMap")


def config(namespace: str, name: str = "c", **data: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"kind": "test", **data},
    }


def names(cluster: Cluster, namespace: str, set_name: str) -> list[object]:
    found = cluster.list(CONFIG, namespace, selector=f"{SET}={set_name}").items
    return [item["data"] for item in found]


def test_a_set_is_created_changed_left_alone_and_pruned(cluster: Cluster, namespace: str) -> None:
    first = [config(namespace, "a", v="1"), config(namespace, "b", v="1")]
    applied = apply_set(cluster, namespace, first, NullProgress())
    assert applied.created == (f"ConfigMap {namespace}/a", f"ConfigMap {namespace}/b")
    again = apply_set(cluster, namespace, first, NullProgress())
    assert (again.changes, len(again.unchanged)) == (0, 2)
    applied = apply_set(cluster, namespace, [config(namespace, "a", v="2")], NullProgress())
    assert applied.changed == (f"ConfigMap {namespace}/a",)
    assert applied.pruned == (f"ConfigMap {namespace}/b",)
    assert names(cluster, namespace, namespace) == [{"kind": "test", "v": "2"}]


def test_another_set_is_never_pruned(cluster: Cluster, namespace: str) -> None:
    apply_set(cluster, f"{namespace}-x", [config(namespace, "x")], NullProgress())
    apply_set(cluster, f"{namespace}-y", [config(namespace, "y")], NullProgress())
    apply_set(cluster, f"{namespace}-y", [], NullProgress())
    assert len(names(cluster, namespace, f"{namespace}-x")) == 1
    assert names(cluster, namespace, f"{namespace}-y") == []


def test_what_a_controller_made_of_a_member_is_never_pruned(cluster: Cluster, namespace: str) -> None:
    apply_set(cluster, namespace, [config(namespace, "a")], NullProgress())
    found = cluster.get(CONFIG, "a", namespace)
    assert found is not None
    meta = Header.model_validate(found).metadata
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": meta.uid}
    child = config(namespace, "child")
    metadata = {"name": "child", "namespace": namespace, "labels": dict(meta.labels), "ownerReferences": [owner]}
    cluster.apply({**child, "metadata": metadata}, manager="controller")
    assert apply_set(cluster, namespace, [config(namespace, "a")], NullProgress()).changes == 0
    assert len(names(cluster, namespace, namespace)) == 2


def test_every_refused_object_is_named(cluster: Cluster, namespace: str) -> None:
    wrong = [config("no-such-namespace", "a"), config(namespace, "b"), config("no-such-namespace", "c")]
    with pytest.raises(ClusterError) as caught:
        apply_set(cluster, namespace, wrong, NullProgress())
    assert "2 objects" in caught.value.message
    assert any("no-such-namespace/a" in line for line in caught.value.details)
    assert len(names(cluster, namespace, namespace)) == 1


def test_a_namespace_comes_before_what_is_in_it(cluster: Cluster, namespace: str) -> None:
    new = f"{namespace}-new"
    objects: list[Object] = [config(new), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": new}}]
    assert apply_set(cluster, new, objects, NullProgress()).created == (f"Namespace {new}", f"ConfigMap {new}/c")


def test_waiting_ends_with_the_change_and_not_before(cluster: Cluster, namespace: str) -> None:
    seen: list[int] = []

    def decide(items: Sequence[Object]) -> str | None:
        seen.append(len(items))
        return "there" if any("v" in str(item["data"]) for item in items) else None

    def change() -> None:
        cluster.apply(config(namespace, "w"))
        cluster.apply(config(namespace, "w", v="1"))

    thread = Thread(target=change)
    thread.start()
    assert watch_until(cluster, Selection(CONFIG, namespace), decide, seconds=20) == "there"
    thread.join()
    assert seen[0] <= seen[-1]


def test_waiting_gives_up_at_the_deadline(cluster: Cluster, namespace: str) -> None:
    started = time.monotonic()
    assert watch_until(cluster, Selection(CONFIG, namespace), lambda _: None, seconds=1.5) is None
    assert 1 <= time.monotonic() - started < 5
