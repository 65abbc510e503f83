"""What is compared, and what a plan says, against a real API server: its defaults, its normal forms, its owners."""

from collections.abc import Sequence

import pytest

from llmprov.cluster.apply import apply_set, as_member
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import Header, Kind
from llmprov.cluster.plan import plan_set
from llmprov.plans import FieldChange, ObjectAction, ObjectPlan
from llmprov.progress import NullProgress

CONFIG = Kind("v1", "ConfigMap")
DEPLOYMENT = Kind("apps/v1", "Deployment")


class Counted:
    """Counts what is really applied to a cluster."""

    def __init__(self, cluster: Cluster, patch: pytest.MonkeyPatch) -> None:
        self.sent: list[str] = []
        real = cluster.apply

        def apply(target: Object, *, force: bool = False, dry_run: bool = False, manager: str = "llmprov") -> Object:
            if not dry_run:
                self.sent.append(Header.model_validate(target).label)
            return real(target, force=force, dry_run=dry_run, manager=manager)

        patch.setattr(cluster, "apply", apply)


@pytest.fixture
def counted(cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Counted:
    assert namespace
    return Counted(cluster, monkeypatch)


def config(namespace: str, name: str = "c", **data: str) -> dict[str, object]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployment(namespace: str, **resources: object) -> dict[str, object]:
    box = {"name": "c", "image": "x", "resources": {"requests": resources}, "ports": [{"containerPort": 80}]}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [box], "volumes": [{"name": "v"}]}}
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": namespace},
        "spec": spec,
    }


def policy(namespace: str) -> dict[str, object]:
    """Its list of rules has one owner as a whole."""
    spec = {"podSelector": {}, "ingress": [{"ports": [{"port": 80, "protocol": "TCP"}]}]}
    metadata = {"name": "p", "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def plan(cluster: Cluster, name: str, objects: Sequence[Object]) -> tuple[ObjectPlan, ...]:
    return plan_set(cluster, "stage", name, objects, LiveObjects.read(cluster))


def versions(cluster: Cluster, namespace: str) -> set[tuple[str, str]]:
    metas = [Header.model_validate(item).metadata for item in cluster.list(CONFIG, namespace).items]
    return {(meta.name, meta.resource_version) for meta in metas}


def put(cluster: Cluster, path: str, item: Object) -> None:
    """Write an object as somebody else."""
    with cluster.open("PUT", path, query={"fieldManager": "somebody"}, body=item):
        pass


def test_a_second_apply_sends_nothing(cluster: Cluster, namespace: str, counted: Counted) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": namespace}}
    ports = [{"port": 80, "name": "a", "targetPort": "http"}, {"port": 81, "name": "b"}]
    objects: list[Object] = [
        config(namespace, a="1"),
        deployment(namespace, cpu="500m", memory="1Gi"),
        policy(namespace),
        {**secret, "data": {"key": "dmFsdWU="}},
        {**service, "spec": {"ports": ports, "selector": {"app": "x"}}},
    ]
    apply_set(cluster, namespace, objects, NullProgress())
    assert len(counted.sent) == len(objects)
    counted.sent.clear()
    assert apply_set(cluster, namespace, objects, NullProgress()).changes == 0
    assert counted.sent == []
    assert plan(cluster, namespace, objects) == ()


def test_a_plan_says_what_comes_changes_and_goes_and_changes_nothing(cluster: Cluster, namespace: str) -> None:
    apply_set(cluster, namespace, [config(namespace, "a", v="1"), config(namespace, "old")], NullProgress())
    before = versions(cluster, namespace)
    found = plan(cluster, namespace, [config(namespace, "a", v="2"), config(namespace, "new")])
    assert found == (
        ObjectPlan(
            "stage", ObjectAction.UPDATE, f"ConfigMap {namespace}/a", (FieldChange("data.v", before="1", after="2"),)
        ),
        ObjectPlan("stage", ObjectAction.CREATE, f"ConfigMap {namespace}/new"),
        ObjectPlan("stage", ObjectAction.PRUNE, f"ConfigMap {namespace}/old"),
    )
    assert versions(cluster, namespace) == before


def test_a_value_that_somebody_else_changed_is_found(cluster: Cluster, namespace: str, counted: Counted) -> None:
    objects: list[Object] = [config(namespace, v="1")]
    apply_set(cluster, namespace, objects, NullProgress())
    there = cluster.get(CONFIG, "c", namespace)
    assert there is not None
    put(cluster, f"/api/v1/namespaces/{namespace}/configmaps/c", {**there, "data": {"v": "2", "theirs": "x"}})
    (update,) = plan(cluster, namespace, objects)
    assert update.fields == (FieldChange("data.v", before="2", after="1"),)
    assert apply_set(cluster, namespace, objects, NullProgress(), take_over=True).changes == 1
    counted.sent.clear()
    assert apply_set(cluster, namespace, objects, NullProgress()).changes == 0
    assert counted.sent == []


def test_what_somebody_added_to_a_list_with_one_owner_is_found(cluster: Cluster, namespace: str) -> None:
    objects = [policy(namespace)]
    apply_set(cluster, namespace, objects, NullProgress())
    there = cluster.get(Kind("networking.k8s.io/v1", "NetworkPolicy"), "p", namespace)
    assert there is not None
    wider = {"ports": [{"port": 80, "protocol": "TCP"}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/p"
    put(cluster, path, {**there, "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [wider]}})
    (update,) = plan(cluster, namespace, objects)
    assert [change.path for change in update.fields] == ["spec.ingress[0].from"]


def test_normal_forms_of_the_api_are_no_change(cluster: Cluster, namespace: str) -> None:
    objects = [deployment(namespace, cpu="0.5", memory="1024Mi")]
    assert apply_set(cluster, namespace, objects, NullProgress()).changes == 1
    there = cluster.get(DEPLOYMENT, "d", namespace)
    assert "500m" in str(there)
    assert plan(cluster, namespace, objects) == ()
    assert apply_set(cluster, namespace, objects, NullProgress()).changes == 0
    assert cluster.get(DEPLOYMENT, "d", namespace) == there


def test_a_field_that_is_not_wanted_any_more_goes(cluster: Cluster, namespace: str) -> None:
    apply_set(cluster, namespace, [config(namespace, a="1", b="2")], NullProgress())
    (update,) = plan(cluster, namespace, [config(namespace, a="1")])
    assert update.fields == (FieldChange("data.b", before="2", after=None),)
    assert apply_set(cluster, namespace, [config(namespace, a="1")], NullProgress()).changes == 1
    assert plan(cluster, namespace, [config(namespace, a="1")]) == ()


def test_an_object_of_an_older_release_is_marked_without_counting_as_a_change(
    cluster: Cluster, namespace: str, counted: Counted
) -> None:
    older: list[Object] = [config(namespace, a="1"), deployment(namespace, cpu="500m")]
    for item in older:
        cluster.apply(as_member(item, namespace))
    counted.sent.clear()
    assert plan(cluster, namespace, older) == ()
    assert apply_set(cluster, namespace, older, NullProgress()).changes == 0
    assert counted.sent == [f"ConfigMap {namespace}/c", f"Deployment {namespace}/d"]
    assert apply_set(cluster, namespace, older, NullProgress()).changes == 0
    assert len(counted.sent) == 2
