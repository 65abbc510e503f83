"""Sets that bring kinds of their own, and Jobs."""

from threading import Timer

import pytest

from llmprov.cluster import crds
from llmprov.cluster.apply import Applied, apply_definitions, apply_set
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import Kind
from llmprov.errors import ClusterError
from llmprov.progress import NullProgress
from tests.unit.cluster.fakeapi import FakeApi

SPACE: dict[str, object] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}
SCALED = Kind("keda.sh/v1alpha1", "ScaledObject")
JOB = Kind("batch/v1", "Job")
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "names": {"kind": "ScaledObject"},
        "versions": [{"name": "v1alpha1", "served": True}, {"name": "v1", "served": False}],
    },
}
SCALER = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a", "namespace": "ns"}}


def decided(api: FakeApi, kind: str, status: str, message: str = "") -> None:
    """Let the API server decide on the definition."""
    key = ("apiextensions.k8s.io/v1/customresourcedefinitions", "", "scaledobjects.keda.sh")
    with api.changed:
        assert api.changed.wait_for(lambda: key in api.objects, timeout=10)
        stored = api.objects[key]
    condition = {"type": kind, "status": status, "message": message}
    api.put({**stored, "status": {"conditions": [condition]}})


def test_objects_wait_for_their_definition(cluster: Cluster, api: FakeApi) -> None:
    times: list[str] = []

    def establish() -> None:
        times.extend(request for request in api.requests if "scaledobjects/a" in request)
        decided(api, "Established", "True")

    Timer(0.2, establish).start()
    applied = apply_set(cluster, "s", [SCALER, DEFINITION, SPACE], NullProgress())
    assert applied.created[-1] == "ScaledObject ns/a"
    assert times == [], "it was applied before the API served its kind"
    assert cluster.get(SCALED, "a", "ns") is not None
    assert apply_set(cluster, "s", [SCALER, DEFINITION, SPACE], NullProgress()).changes == 0


def test_definitions_go_ahead_of_their_set(cluster: Cluster, api: FakeApi) -> None:
    Timer(0.1, lambda: decided(api, "Established", "True")).start()
    objects: list[Object] = [SCALER, DEFINITION, SPACE]
    live = LiveObjects.read(cluster)
    assert apply_definitions(cluster, "s", objects, frozenset(), live=live, check=lambda: None) == Applied()
    ahead = apply_definitions(cluster, "s", objects, frozenset({SCALED}), live=live, check=lambda: None)
    definition = "CustomResourceDefinition scaledobjects.keda.sh"
    assert ahead == Applied(created=(definition,))
    applied = apply_set(cluster, "s", objects, NullProgress())
    assert applied == Applied(created=("Namespace ns", "ScaledObject ns/a"), unchanged=(definition,))


def test_a_definition_that_is_refused(cluster: Cluster, api: FakeApi) -> None:
    Timer(0.1, lambda: decided(api, "NamesAccepted", "False", "so is another one called")).start()
    with pytest.raises(ClusterError, match="does not accept the names") as caught:
        apply_set(cluster, "s", [DEFINITION], NullProgress())
    assert caught.value.details == ("scaledobjects.keda.sh: so is another one called",)


def test_a_definition_that_is_never_served(cluster: Cluster, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crds, "_SECONDS", 0.1)
    with pytest.raises(ClusterError, match="does not serve custom resources") as caught:
        crds.wait_established(cluster, ["scaledobjects.keda.sh"], selector="", seconds=0.1)
    assert caught.value.details == ("scaledobjects.keda.sh",)
    assert api.requests


def test_custom_kinds_are_pruned_and_definitions_are_not(cluster: Cluster, api: FakeApi) -> None:
    Timer(0.05, lambda: decided(api, "Established", "True")).start()
    apply_set(cluster, "s", [SPACE, DEFINITION, SCALER], NullProgress())
    applied = apply_set(cluster, "s", [SPACE], NullProgress())
    assert applied.pruned == ("ScaledObject ns/a",)


def job(image: str) -> dict[str, object]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "certgen", "namespace": "ns"},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}},
    }


def test_a_job_is_made_anew_when_it_changes_and_only_then(cluster: Cluster, api: FakeApi) -> None:
    assert apply_set(cluster, "s", [SPACE, job("a")], NullProgress()).created == ("Namespace ns", "Job ns/certgen")
    api.requests.clear()
    assert apply_set(cluster, "s", [SPACE, job("a")], NullProgress()).changes == 0
    assert not [request for request in api.requests if request.startswith("PATCH") and "jobs" in request]
    applied = apply_set(cluster, "s", [SPACE, job("b")], NullProgress())
    assert applied.changed == ("Job ns/certgen",)
    assert [request.split()[0] for request in api.requests if "jobs/certgen" in request] == ["DELETE", "PATCH"]


def test_a_status_that_moves_is_no_change(cluster: Cluster, api: FakeApi) -> None:
    apply_set(cluster, "s", [SPACE], NullProgress())
    stored = api.objects["v1/namespaces", "", "ns"]
    real = cluster.apply

    def moved(*arguments: object, **options: object) -> object:
        # Its controller was quicker than the run.
        api.put({**stored, "status": {"phase": "Active"}})
        return real(*arguments, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "apply", moved)
        assert apply_set(cluster, "s", [SPACE], NullProgress()).changes == 0
