"""What the API serves, and several threads on one cluster."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import SimpleNamespace

import pytest

from llmprov.cluster.client import Cluster
from llmprov.cluster.discovery import Discovery
from llmprov.cluster.objects import NODE, POD, Kind
from llmprov.errors import ClusterError
from tests.unit.cluster.conftest import Direct
from tests.unit.cluster.fakeapi import KINDS, FakeApi

ROLE = Kind("rbac.authorization.k8s.io/v1", "Role")
SCALED = Kind("keda.sh/v1alpha1", "ScaledObject")


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "path"),
    [
        (NODE, "", "n", "/api/v1/nodes/n"),
        (NODE, "ns", "n", "/api/v1/nodes/n"),
        (POD, "ns", "p", "/api/v1/namespaces/ns/pods/p"),
        (SCALED, "ns", "s", "/apis/keda.sh/v1alpha1/namespaces/ns/scaledobjects/s"),
        (ROLE, "ns", "system:a/b", "/apis/rbac.authorization.k8s.io/v1/namespaces/ns/roles/system%3Aa%2Fb"),
    ],
)
def test_paths(cluster: Cluster, api: FakeApi, kind: Kind, namespace: str, name: str, path: str) -> None:
    assert cluster.get(kind, name, namespace) is None
    assert api.requests[-1] == f"GET {path}"


def test_an_object_that_needs_a_namespace_and_a_subresource_that_is_not_served(cluster: Cluster, api: FakeApi) -> None:
    api.requests.clear()
    with pytest.raises(ClusterError, match="delete Pod p: it has to be in a namespace"):
        cluster.delete(POD, "p")
    with pytest.raises(ClusterError, match="patch scale of Node n: the cluster does not know"):
        cluster.merge(NODE, "n", {"spec": {"replicas": 1}}, subresource="scale")
    assert api.requests == ["GET /api", "GET /apis"]


def test_two_questions_are_enough_for_all_kinds(cluster: Cluster, api: FakeApi) -> None:
    assert all(cluster.serves(kind) for kind in (NODE, POD, SCALED))
    assert api.requests == ["GET /api", "GET /apis"]
    assert {"v1", "apps/v1", "keda.sh/v1alpha1"} <= cluster.groups()
    assert {NODE, SCALED} <= cluster.kinds()


def test_a_kind_that_comes_later_is_found(cluster: Cluster, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delitem(KINDS, SCALED.api_version)
        assert not cluster.serves(SCALED)
        assert SCALED.api_version not in cluster.groups()
    assert cluster.serves(SCALED)
    api.requests.clear()
    cluster.list(SCALED)
    assert api.requests == ["GET /apis/keda.sh/v1alpha1/scaledobjects"]


def test_what_does_not_answer_for_itself_does_not_hide_the_rest() -> None:
    stale = {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]}
    kindless = {"resource": "xs", "scope": "Namespaced", "responseKind": None}
    kind = {"group": "", "version": "", "kind": "Y"}
    known = {"resource": "ys", "scope": "Cluster", "responseKind": kind}
    other = {"metadata": {"name": "o"}, "versions": [{"version": "v1", "resources": [kindless, known]}]}
    answers = {"/api": {"items": []}, "/apis": {"items": [stale, other]}}

    class Client:
        def request(self, _method: str, path: str, **_: object) -> SimpleNamespace:
            return SimpleNamespace(data=json.dumps(answers[path]).encode())

    discovery = Discovery(Client())  # type: ignore[arg-type]
    assert discovery.groups() == {"metrics.k8s.io/v1beta1", "o/v1"}
    assert discovery.kinds() == {Kind("o/v1", "Y")}
    assert discovery.get(api_version="o/v1", kind="Y").path(name="y") == "/apis/o/v1/ys/y"  # type: ignore[no-untyped-call]


def test_a_discovery_that_is_refused_is_an_error(cluster: Cluster, api: FakeApi) -> None:
    api.faults = [403]
    with pytest.raises(ClusterError, match="discover the API"):
        cluster.list(NODE)


def test_threads_whose_connections_break_together_renew_the_route_once(
    make: Callable[..., Cluster], api: FakeApi
) -> None:
    together = Barrier(4)

    route = Direct(api.url)
    cluster = make(url="http://127.0.0.1:1", route=route)

    def version() -> str:
        together.wait(timeout=10)
        return cluster.version()

    with ThreadPoolExecutor(4) as threads:
        found = [future.result() for future in [threads.submit(version) for _ in range(4)]]
    assert found == ["v1.37.2"] * 4
    assert route.renewed == 1
