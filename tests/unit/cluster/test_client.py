import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest

from llmprov.cluster.client import Cluster, WatchExpiredError
from llmprov.cluster.objects import NODE, POD, Kind
from llmprov.errors import ClusterError, HostConnectionError
from tests.unit.cluster.conftest import Direct
from tests.unit.cluster.fakeapi import FakeApi

CONFIG = Kind("v1", "ConfigMap")
NODE_OBJECT: dict[str, object] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}


def test_get_returns_none_for_what_is_not_there(cluster: Cluster) -> None:
    assert cluster.get(NODE, "n1") is None


def test_apply_then_list_gives_each_item_its_kind(cluster: Cluster) -> None:
    cluster.apply(NODE_OBJECT)
    (item,) = cluster.list(NODE).items
    assert (item["kind"], item["apiVersion"]) == ("Node", "v1")


def test_delete_of_what_is_gone_is_fine(cluster: Cluster) -> None:
    cluster.apply(NODE_OBJECT)
    cluster.delete(NODE, "n1")
    cluster.delete(NODE, "n1")
    assert cluster.get(NODE, "n1") is None


def test_a_kind_that_is_not_served(cluster: Cluster) -> None:
    unknown = Kind("example.org/v1", "Nothing")
    assert not cluster.serves(unknown)
    with pytest.raises(ClusterError, match="does not know"):
        cluster.apply({"apiVersion": "example.org/v1", "kind": "Nothing", "metadata": {"name": "x"}})


def test_an_overloaded_api_is_asked_again(cluster: Cluster, api: FakeApi) -> None:
    cluster.apply(NODE_OBJECT)
    api.faults = [503, 429]
    assert cluster.get(NODE, "n1") is not None
    assert api.faults == []


def test_a_dropped_connection_renews_the_route(make: Callable[..., Cluster], api: FakeApi) -> None:
    route = Direct(api.url)
    cluster = make(route=route)
    cluster.apply(NODE_OBJECT)
    api.faults = [0]
    assert cluster.get(NODE, "n1") is not None
    assert route.renewed == 1


def test_an_api_that_stays_away_is_an_error_with_a_remedy(make: Callable[..., Cluster]) -> None:
    dead = "http://127.0.0.1:1"
    cluster = make(patience=0.05, url=dead, route=Direct(dead))
    with pytest.raises(ClusterError, match="does not answer") as caught:
        cluster.version()
    assert "control plane" in caught.value.remedy


class _HangsUp(socketserver.BaseRequestHandler):
    """A tunnel with nobody behind it: it takes connections, and ends them before TLS is up."""

    def handle(self) -> None:
        self.request.shutdown(socket.SHUT_WR)
        while self.request.recv(4096):
            pass


@pytest.fixture
def dead_tunnel() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _HangsUp) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_tunnel_with_nobody_behind_it_renews_the_route(
    make: Callable[..., Cluster], api: FakeApi, dead_tunnel: str
) -> None:
    route = Direct(api.url)
    cluster = make(url=dead_tunnel, route=route)
    assert cluster.get(NODE, "n1") is None
    assert route.renewed == 1
    streaming = make(url=dead_tunnel, route=route)
    with streaming.exchange("GET", "/version") as response:
        assert response.status == 200
    assert route.renewed == 2


def test_a_tunnel_that_keeps_nobody_behind_it_is_an_error(make: Callable[..., Cluster], dead_tunnel: str) -> None:
    cluster = make(patience=0.05, url=dead_tunnel, route=Direct(dead_tunnel))
    with pytest.raises(ClusterError, match="ask for the version: the Kubernetes API does not answer") as caught:
        cluster.version()
    assert "SSL" in "".join(caught.value.details)


def test_a_host_that_stays_away_is_named(make: Callable[..., Cluster], api: FakeApi) -> None:
    class Gone(Direct):
        def renew(self) -> str:
            raise HostConnectionError("cp1: unreachable over SSH")

    cluster = make(patience=0.05, url="http://127.0.0.1:1", route=Gone(api.url))
    with pytest.raises((ClusterError, HostConnectionError)):
        cluster.version()


def test_a_refusal_is_not_tried_again(cluster: Cluster, api: FakeApi) -> None:
    cluster.apply(NODE_OBJECT)
    api.requests.clear()
    api.faults = [403]
    with pytest.raises(ClusterError, match="403"):
        cluster.get(NODE, "n1")
    assert len(api.requests) == 1


def test_a_conflict_names_field_and_owner(cluster: Cluster, api: FakeApi) -> None:
    api.conflict = "n1"
    with pytest.raises(ClusterError, match="somebody else") as caught:
        cluster.apply(NODE_OBJECT)
    assert caught.value.details == ('.spec.replicas: conflict with "kubectl"',)


def test_log_is_empty_when_there_is_none(cluster: Cluster, api: FakeApi) -> None:
    api.logs["p1/true"] = "one\ntwo\n"
    assert cluster.log("ns", "p1", "c", lines=5, previous=True) == ("one", "two")
    assert cluster.log("ns", "p1", "c", lines=5) == ()


def test_watch_yields_changes_and_says_when_it_is_too_late(cluster: Cluster, api: FakeApi) -> None:
    version = cluster.list(POD).resource_version
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}})
    (change,) = cluster.watch(POD, "ns", selector="", version=version, seconds=1)
    assert change.type == "ADDED"
    api.expire_watches = 1
    with pytest.raises(WatchExpiredError):
        list(cluster.watch(POD, "ns", selector="", version=version, seconds=1))


def test_a_watch_begins_over_a_dropped_connection_and_an_overload_not_over_a_refusal(
    cluster: Cluster, api: FakeApi
) -> None:
    version = cluster.list(POD).resource_version
    api.faults = [0, 503]
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}})
    [change] = cluster.watch(POD, "ns", selector="", version=version, seconds=1)
    assert change.object["kind"] == "Pod"
    api.faults = [403]
    with pytest.raises(ClusterError, match="watch Pod: the Kubernetes API answered 403 Forbidden: made to fail"):
        list(cluster.watch(POD, "ns", selector="", version=version, seconds=1))


def test_merge_patches_a_subresource(cluster: Cluster, api: FakeApi) -> None:
    cluster.apply(NODE_OBJECT)
    cluster.merge(NODE, "n1", {"status": {"capacity": {"nvidia.com/gpu": "2"}}}, subresource="status")
    assert any(request.startswith("PATCH /api/v1/nodes/n1/status?") for request in api.requests)
    found = cluster.get(NODE, "n1")
    assert found is not None
    assert found["status"] == {"capacity": {"nvidia.com/gpu": "2"}}


def test_version(cluster: Cluster) -> None:
    assert cluster.version() == "v1.37.2"
