"""Comparing manifests with what the API has: what is proved equal, and what is only told as different."""

import copy
import json
import random
from typing import Any, cast

import pytest

from llmprov.cluster.compare import APPLIED, covers, differences, digest, in_sync, marked, owns

type Tree = dict[str, Any] | list[Any] | str | float

MANIFEST: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "s", "namespace": "ns", "labels": {"a": "b"}, "creationTimestamp": None},
    "spec": {"ports": [{"port": 80, "name": "http"}], "selector": {"app": "x"}},
}
FIELDS: dict[str, Any] = {
    "f:metadata": {"f:annotations": {f"f:{APPLIED}": {}}, "f:labels": {"f:a": {}}},
    "f:spec": {
        "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}}},
        "f:selector": {},
    },
}


def live() -> dict[str, Any]:
    """The Service as the API has it, with what it adds itself."""
    item: dict[str, Any] = copy.deepcopy(dict(marked(MANIFEST)))
    item["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "7"}
    item["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Apply", "fieldsV1": {}},
        {"manager": "llmprov", "operation": "Update", "fieldsV1": {}},
        {"manager": "llmprov", "operation": "Apply", "fieldsV1": FIELDS},
    ]
    item["spec"] |= {"clusterIP": "10.96.0.1"}
    item["spec"]["ports"][0]["protocol"] = "TCP"
    item["status"] = {"loadBalancer": {}}
    return item


def test_defaults_and_what_others_add_is_in_sync() -> None:
    assert in_sync(marked(MANIFEST), live())


def test_a_status_in_the_manifest_is_not_compared() -> None:
    wanted = {**MANIFEST, "status": {"conditions": None}}
    found = live()
    found["metadata"]["annotations"] = {APPLIED: digest(wanted)}
    assert in_sync(marked(wanted), found)


def test_another_manifest_is_not_in_sync_although_its_fields_are_there() -> None:
    less = {**MANIFEST, "spec": {"selector": {"app": "x"}}}
    assert not in_sync(marked(less), live()), "fields that are not wanted any more would stay"


def test_a_changed_value_is_not_in_sync() -> None:
    found = live()
    found["spec"]["selector"]["app"] = "y"
    assert not in_sync(marked(MANIFEST), found)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"manager": "llmprov", "operation": "Update", "fieldsV1": FIELDS}],
        [{"manager": "other", "operation": "Apply", "fieldsV1": FIELDS}],
        [{"manager": "llmprov", "operation": "Apply", "subresource": "scale", "fieldsV1": FIELDS}],
        [{"manager": "llmprov", "operation": "Apply", "fieldsV1": {**FIELDS, "f:spec": {"f:selector": {}}}}],
    ],
)
def test_a_field_that_is_not_ours_any_more_is_not_in_sync(entries: list[dict[str, object]]) -> None:
    found = live()
    found["metadata"]["managedFields"] = entries
    assert not in_sync(marked(MANIFEST), found)


@pytest.mark.parametrize(
    ("wanted", "there", "proved"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"b": 2}, False),
        ({"a": {}}, {}, False),
        ({"a": None}, {}, True),
        ({"a": None}, {"a": 0}, False),
        ({"a": ""}, {}, True),
        ({"a": ""}, {"a": "x"}, False),
        ({"a": []}, {}, False),
        ({"a": 0}, {}, False),
        ([1, 2], [1, 2], True),
        ([1, 2], [2, 1], False),
        ([1], [1, 2], False),
        ([{"name": "a"}], [{"name": "a", "protocol": "TCP"}], True),
        ([{"name": "a"}], [{"name": "a"}, {"name": "sidecar"}], False),
        ("500m", "500m", True),
        ("0.5", "500m", False),
        (1, True, False),
        (0, False, False),
        (1, 1.0, True),
        ("80", 80, False),
        ({"a": 1}, [("a", 1)], False),
        ([], {}, False),
    ],
)
def test_values(wanted: object, there: object, *, proved: bool) -> None:
    assert covers(wanted, there) is proved


@pytest.mark.parametrize(
    ("fields", "value", "ours"),
    [
        ({}, {"a": [1]}, True),
        ({"f:a": {}}, {"a": [{"b": 1}]}, True),
        ({"f:a": {}}, {"a": 1, "b": 2}, False),
        ({"f:a": {}}, {"a": 1, "b": None}, True),
        ({"f:a": {".": {}}}, {"a": {}}, True),
        ({"f:a": {".": {}}}, {"a": {"b": 1}}, False),
        ({"f:a": {".": {}, "f:b": {}}}, {"a": 1}, False),
        ({"f:a": {'v:"x"': {}, 'v:"\\u003c"': {}}}, {"a": ["<", "x"]}, True),
        ({"f:a": {'v:"x"': {}}}, {"a": ["x", "y"]}, False),
        ({"f:a": {'k:{"name":"x"}': {".": {}, "f:name": {}}}}, {"a": [{"name": "x"}]}, True),
        ({"f:a": {'k:{"name":"x"}': {".": {}, "f:name": {}}}}, {"a": [{"name": "y"}]}, False),
        ({"f:a": {'k:{"name":"x"}': {".": {}, "f:name": {}}}}, {"a": [{"name": "x", "value": "1"}]}, False),
    ],
)
def test_owned_fields(fields: dict[str, object], value: object, *, ours: bool) -> None:
    assert owns(fields, value) is ours


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 2}}, ["a.b", "a.c"]),
        ({}, {"a": {"b": 1}}, ["a"]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, ["a[1]", "a[2]"]),
        (
            {"c": [{"name": "x", "image": "1"}, {"name": "y"}]},
            {"c": [{"name": "new"}, {"name": "x", "image": "2"}]},
            ["c[x].image", "c[y]", "c[new]"],
        ),
        ({"c": [{"name": "x"}, {"name": "x", "v": 2}]}, {"c": [{"name": "x"}, {"name": "x", "v": 3}]}, ["c[1].v"]),
        ({"a": []}, {"a": {}}, ["a"]),
        ({"a": {}}, {"a": {"b": {}}}, ["a.b"]),
    ],
)
def test_differences(before: object, after: object, paths: list[str]) -> None:
    assert sorted(path for path, _, _ in differences(before, after)) == sorted(paths)


def test_what_the_api_adds_never_hides_a_change_and_never_counts_as_one() -> None:
    dice = random.Random(20260101)  # noqa: S311 - the same values each time
    for _ in range(300):
        wanted = _value(dice, 4)
        grown = _grown(dice, wanted)
        assert covers(wanted, grown), json.dumps([wanted, grown])
        assert not list(differences(wanted, copy.deepcopy(wanted)))
        changed = _changed(dice, grown, wanted)
        assert not covers(wanted, changed), json.dumps([wanted, changed])
        assert len(list(differences(grown, changed))) == 1, json.dumps([grown, changed])


def _value(dice: random.Random, depth: int) -> Tree:
    kind = dice.choice(("leaf", "map", "map", "list") if depth else ("leaf",))
    if kind == "map":
        return {f"k{number}": _value(dice, depth - 1) for number in range(dice.randint(1, 4))}
    if kind == "list":
        return [_value(dice, depth - 1) for _ in range(dice.randint(1, 3))]
    return cast("Tree", dice.choice((0, 1, True, False, "x", "", "1", 2.5)))


def _grown(dice: random.Random, value: Tree) -> Tree:
    """A value to whose mappings somebody added something."""
    if isinstance(value, dict):
        more = {f"new{number}": _value(dice, 1) for number in range(dice.randint(0, 2))}
        return {**{key: _grown(dice, child) for key, child in value.items()}, **more}
    return [_grown(dice, child) for child in value] if isinstance(value, list) else value


def _changed(dice: random.Random, there: Tree, wanted: Tree) -> Tree:
    """A value in which one leaf of `wanted` is another one."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        key = dice.choice(sorted(wanted))
        return {**there, key: _changed(dice, there[key], wanted[key])}
    if isinstance(wanted, list) and isinstance(there, list):
        number = dice.randrange(len(wanted))
        changed = list(there)
        changed[number] = _changed(dice, there[number], wanted[number])
        return changed
    return f"{wanted} is changed"
