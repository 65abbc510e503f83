"""Applying only what differs, and saying beforehand what would be done, on an API in memory."""

import copy
from typing import Any

import pytest

from llmprov.cluster.apply import apply_set
from llmprov.cluster.client import Cluster
from llmprov.cluster.compare import APPLIED
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import Kind
from llmprov.cluster.plan import plan_set
from llmprov.errors import ClusterError
from llmprov.plans import FieldChange, ObjectAction, ObjectPlan
from llmprov.progress import NullProgress
from tests.unit.cluster.fakeapi import FakeApi
from tests.unit.cluster.test_apply_and_wait import SPACE, config
from tests.unit.cluster.test_custom_kinds import SCALER, job

CONFIGS = "v1/configmaps"


def secret(value: str) -> dict[str, object]:
    metadata = {"name": "s", "namespace": "ns"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": {"key": value}}


def stored(api: FakeApi, name: str = "a") -> dict[str, Any]:
    return copy.deepcopy(api.objects[CONFIGS, "ns", name])


def patches(api: FakeApi) -> list[str]:
    return [request.partition("?")[0].split("/")[-1] for request in api.requests if request.startswith("PATCH")]


def plan(cluster: Cluster, *objects: dict[str, object]) -> tuple[ObjectPlan, ...]:
    return plan_set(cluster, "stage", "s", objects, LiveObjects.read(cluster))


def test_nothing_is_sent_for_what_is_as_it_should_be(cluster: Cluster, api: FakeApi) -> None:
    objects = [SPACE, config("a", v="1"), secret("eA=="), job("x")]
    apply_set(cluster, "s", objects, NullProgress())
    api.requests.clear()
    applied = apply_set(cluster, "s", objects, NullProgress())
    assert (applied.changes, len(applied.unchanged)) == (0, 4)
    assert patches(api) == []


def test_what_somebody_else_changed_is_brought_back(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, config("a", v="1"), config("b", v="1")], NullProgress())
    api.put(stored(api) | {"data": {"v": "2"}})
    api.requests.clear()
    applied = apply_set(cluster, "s", [SPACE, config("a", v="1"), config("b", v="1")], NullProgress())
    assert applied.changed == ("ConfigMap ns/a",)
    assert patches(api) == ["a"]
    assert stored(api)["data"] == {"v": "1"}


@pytest.mark.parametrize("lost", ["annotations", "managedFields"])
def test_an_object_that_cannot_be_proved_equal_is_sent_and_is_no_change(
    cluster: Cluster, api: FakeApi, lost: str
) -> None:
    apply_set(cluster, "s", [SPACE, config("a", v="1")], NullProgress())
    found = stored(api)
    del found["metadata"][lost]
    api.put(found)
    api.requests.clear()
    assert plan(cluster, SPACE, config("a", v="1")) == ()
    api.requests.clear()
    assert apply_set(cluster, "s", [SPACE, config("a", v="1")], NullProgress()).changes == 0
    assert patches(api) == ["a"]
    api.requests.clear()
    apply_set(cluster, "s", [SPACE, config("a", v="1")], NullProgress())
    assert patches(api) == []


def test_one_look_serves_all_sets(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, config("a")], NullProgress())
    apply_set(cluster, "t", [config("b")], NullProgress())
    api.requests.clear()
    live = LiveObjects.read(cluster)
    lists = [request for request in api.requests if "labelSelector" in request]
    assert len(lists) == len(set(lists)) == len(live.looked & live.served)
    api.requests.clear()
    assert apply_set(cluster, "s", [SPACE, config("a")], NullProgress(), live=live).changes == 0
    assert apply_set(cluster, "t", [config("b")], NullProgress(), live=live).changes == 0
    assert api.requests == []


def test_a_kind_that_is_not_in_the_order_is_looked_for_too(cluster: Cluster, api: FakeApi) -> None:
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "ns"}}
    apply_set(cluster, "s", [SPACE, event], NullProgress())
    live = LiveObjects.read(cluster)
    assert "Event" not in {kind.kind for kind in live.looked}
    api.requests.clear()
    assert apply_set(cluster, "s", [SPACE, event], NullProgress(), live=live).changes == 0
    assert patches(api) == []


def test_what_another_set_took_over_meanwhile_is_not_pruned(cluster: Cluster) -> None:
    apply_set(cluster, "old", [SPACE, config("a")], NullProgress())
    live = LiveObjects.read(cluster)
    apply_set(cluster, "new", [SPACE, config("a")], NullProgress(), live=live)
    assert apply_set(cluster, "old", [], NullProgress(), live=live).pruned == ()
    assert cluster.get(Kind("v1", "ConfigMap"), "a", "ns") is not None


def test_a_part_of_a_set_is_looked_for_now(cluster: Cluster) -> None:
    labelled = config("a")
    labelled["metadata"] = {"name": "a", "namespace": "ns", "labels": {"part": "x"}}
    live = LiveObjects.read(cluster)
    apply_set(cluster, "s", [SPACE, labelled, config("b")], NullProgress())
    assert apply_set(cluster, "s", [], NullProgress(), live=live, within="part=x").pruned == ("ConfigMap ns/a",)
    assert cluster.get(Kind("v1", "ConfigMap"), "b", "ns") is not None


def test_a_plan_names_what_is_created_updated_and_pruned_and_changes_nothing(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, config("a", v="1"), config("old")], NullProgress())
    before = copy.deepcopy(api.objects)
    assert plan(cluster, config("new"), config("a", v="2", w="3"), SPACE) == (
        ObjectPlan("stage", ObjectAction.CREATE, "ConfigMap ns/new"),
        ObjectPlan(
            "stage",
            ObjectAction.UPDATE,
            "ConfigMap ns/a",
            (FieldChange("data.v", "1", "2"), FieldChange("data.w", None, "3")),
        ),
        ObjectPlan("stage", ObjectAction.PRUNE, "ConfigMap ns/old"),
    )
    assert api.objects == before


def test_a_plan_of_what_is_in_sync_is_empty_and_asks_for_no_object(cluster: Cluster, api: FakeApi) -> None:
    objects = [SPACE, config("a", v="1"), secret("eA=="), job("x")]
    apply_set(cluster, "s", objects, NullProgress())
    live = LiveObjects.read(cluster)
    api.requests.clear()
    assert plan_set(cluster, "stage", "s", objects, live) == ()
    assert api.requests == []


def test_the_first_plan_asks_for_nothing_that_cannot_be_there(cluster: Cluster, api: FakeApi) -> None:
    live = LiveObjects.read(cluster)
    api.requests.clear()
    unknown = {"apiVersion": "example.org/v1", "kind": "Later", "metadata": {"name": "x"}}
    found = plan_set(cluster, "stage", "s", [unknown, SCALER, config("a")], live)
    assert [item.action for item in found] == [ObjectAction.CREATE] * 3
    assert api.requests == []


def test_an_object_that_lost_its_labels_is_updated_not_created(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, config("a")], NullProgress())
    found = stored(api)
    found["metadata"]["labels"] = {}
    api.put(found)
    (update,) = plan(cluster, SPACE, config("a"))
    assert update.action is ObjectAction.UPDATE
    assert {change.path for change in update.fields} == {
        "metadata.labels.app.kubernetes.io/managed-by",
        "metadata.labels.llmprov.io/set",
    }


def test_values_of_secrets_are_not_shown(cluster: Cluster) -> None:
    apply_set(cluster, "s", [SPACE, secret("b2xk")], NullProgress())
    (update,) = plan(cluster, SPACE, {**secret("bmV3"), "type": "other"})
    assert set(update.fields) == {FieldChange("data.key", "…", "…"), FieldChange("type", "Opaque", "other")}


def test_a_job_that_changes_is_an_update_by_the_fields_that_it_names(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, job("old")], NullProgress())
    api.requests.clear()
    (update,) = plan(cluster, SPACE, job("new"))
    assert FieldChange("spec.template.spec.containers[c].image", "old", "new") in update.fields
    assert patches(api) == []


def test_every_object_that_would_be_refused_is_named(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, config("a", v="1")], NullProgress())
    api.conflict = "a"
    with pytest.raises(ClusterError, match="ConfigMap ns/a"):
        plan(cluster, SPACE, config("a", v="2"))


def test_the_mark_is_on_what_was_applied(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE, config("a")], NullProgress())
    assert len(stored(api)["metadata"]["annotations"][APPLIED]) == 64
