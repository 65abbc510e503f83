"""One cluster's API: typed, retried over restarts and dropped tunnels, every failure classified."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast
from urllib.parse import quote

import urllib3
from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ResourceNotFoundError
from kubernetes.dynamic.resource import Resource
from kubernetes.watch import Watch

from llmprov.cluster.discovery import Discovery
from llmprov.cluster.objects import Header, Kind
from llmprov.cluster.problems import classify
from llmprov.cluster.transport import CONNECT_TIMEOUT, READ_TIMEOUT, Request, Response, Route, Transport
from llmprov.errors import ClusterError

type Object = Mapping[str, object]

FIELD_MANAGER = "llmprov"
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects and the version of the collection, from which a watch goes on."""

    items: tuple[Object, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


class WatchExpiredError(Exception):
    """The watch's starting point is gone from the server's history: list again."""


class Cluster:
    """The Kubernetes API of one cluster; several threads may use it at a time.

    Args:
        api: a configured client; its host is replaced when the route is renewed.
        route: finds a new way in when the old one broke.
        patience: seconds to go on trying while the API is away or overloaded.
    """

    def __init__(self, api: ApiClient, route: Route, *, patience: float = 60.0) -> None:
        self._transport = Transport(api, route, patience)
        self._api = DynamicClient(api, discoverer=Discovery)  # type: ignore[no-untyped-call]

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """Return one object, or None when there is none."""
        what = f"get {kind.kind} {name}"
        return self._optional(what, self._resource(what, kind).get, **_named(name, namespace))

    def list(self, kind: Kind, namespace: str = "", *, selector: str = "", fields: str = "") -> Listing:
        """Return the objects of a kind in a namespace, or in all of them when it is empty."""
        what = f"list {kind.kind}"
        answer = self._object(
            what,
            self._resource(what, kind).get,
            namespace=namespace or None,
            label_selector=selector or None,
            field_selector=fields or None,
        )
        meta = cast("Mapping[str, str]", answer["metadata"])
        items = cast("list[dict[str, object]]", answer.get("items") or [])
        # The items of a list do not repeat its kind.
        whole = tuple({"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in items)
        return Listing(whole, meta["resourceVersion"])

    def serves(self, kind: Kind) -> bool:
        """Tell whether the cluster knows a kind."""
        return self._found(kind) is not None

    def kinds(self) -> frozenset[Kind]:
        """Return the kinds that the cluster serves. Asked anew each time."""
        return self._discovered(self._served.kinds)

    def groups(self) -> frozenset[str]:
        """Return the groups and versions that the cluster serves: `v1`, `apps/v1`. Asked anew each time."""
        return self._discovered(self._served.groups)

    def apply(
        self, target: Object, *, force: bool = False, dry_run: bool = False, manager: str = FIELD_MANAGER
    ) -> Object:
        """Apply one object server-side, as the owner of the fields it names.

        Args:
            target: the whole object as it should be.
            force: take fields over that somebody else owns, instead of failing.
            dry_run: only ask what it would become; nothing is stored.
            manager: who owns the fields; one manager's second application drops what it no longer names.
        """
        header = Header.model_validate(target)
        what, namespace = f"apply {header.label}", header.metadata.namespace
        return self._object(
            what,
            self._place(what, header.resource, namespace).server_side_apply,
            **_named(header.metadata.name, namespace),
            body=target,
            field_manager=manager,
            force_conflicts=force,
            dry_run="All" if dry_run else None,
        )

    def merge(self, kind: Kind, name: str, patch: Object, *, namespace: str = "", subresource: str = "") -> Object:
        """Patch one object (JSON merge patch), or a subresource of it."""
        what = f"patch {f'{subresource} of ' if subresource else ''}{kind.kind} {name}"
        place = self._place(what, kind, namespace)
        if subresource and subresource not in place.subresources:
            raise _unknown(what)
        return self._object(
            what,
            (place.subresources[subresource] if subresource else place).patch,
            **_named(name, namespace),
            body=patch,
            content_type=_MERGE,
            field_manager=FIELD_MANAGER,
        )

    def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete one object and, in the background, what it owns; it may already be gone."""
        what = f"delete {kind.kind} {name}"
        options = {"propagationPolicy": "Background"}
        self._optional(what, self._place(what, kind, namespace).delete, **_named(name, namespace), body=options)

    def watch(self, kind: Kind, namespace: str, *, selector: str, version: str, seconds: float) -> Iterator[Change]:
        """Yield what changes after `version`; ends after `seconds`, or when the connection does.

        Raises:
            WatchExpiredError: the server has forgotten `version`.
        """
        what = f"watch {kind.kind}"
        resource = self._resource(what, kind)

        def send(**query: object) -> object:
            return self._transport.retried(what, lambda: resource.get(serialize=False, **query))

        events = Watch().stream(  # type: ignore[no-untyped-call]
            send,
            namespace=namespace or None,
            label_selector=selector or None,
            resource_version=version,
            timeout_seconds=max(1, int(seconds)),
            allow_watch_bookmarks=True,
            _request_timeout=(CONNECT_TIMEOUT, seconds + 10),
        )
        try:
            for event in events:
                yield Change(event["type"], event["raw_object"])
        except ApiException as error:
            if error.status == HTTPStatus.GONE:
                raise WatchExpiredError from error
            raise classify(error.status, error.body or error.reason, what) from error
        except urllib3.exceptions.HTTPError:
            return  # the caller watches on from what it has seen

    def log(self, namespace: str, pod: str, container: str, *, lines: int, previous: bool = False) -> tuple[str, ...]:
        """Return the last lines of a container's log; empty when there is none (any more)."""
        query = {"container": container, "tailLines": str(lines), "previous": str(previous).lower()}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        try:
            with self.open("GET", path, query=query) as response:
                return tuple(response.read().decode(errors="replace").splitlines())
        except (ClusterError, urllib3.exceptions.HTTPError):
            return ()

    def version(self) -> str:
        """Return the API server's version, such as `v1.37.2`."""
        return str(self._object("ask for the version", self._api.request, method="get", path="/version")["gitVersion"])

    def open(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Object | None = None
    ) -> AbstractContextManager[Response]:
        """Send a request whose response is read as a stream; a refusal raises ClusterError."""
        return self._transport.open(Request(method=method, path=path, query=query or {}, body=body))

    def exchange(
        self, method: str, path: str, *, body: Object | None = None, read_timeout: float = 60.0
    ) -> AbstractContextManager[Response]:
        """Send a request and hand its response over, whatever its status: what a proxied service answers is its own."""
        return self._transport.exchange(Request(method=method, path=path, body=body, read_timeout=read_timeout))

    @property
    def _served(self) -> Discovery:
        return cast("Discovery", self._api.resources)

    def _found(self, kind: Kind) -> Resource | None:
        try:
            return self._discovered(lambda: self._served.get(api_version=kind.api_version, kind=kind.kind))
        except ResourceNotFoundError:
            return None

    def _resource(self, what: str, kind: Kind) -> Resource:
        found = self._found(kind)
        if found is None:
            raise _unknown(what)
        return found

    def _place(self, what: str, kind: Kind, namespace: str) -> Resource:
        """A resource of which one object is meant."""
        resource = self._resource(what, kind)
        if resource.namespaced and not namespace:
            raise ClusterError(f"{what}: it has to be in a namespace, and none is named", remedy="name its namespace")
        return resource

    def _discovered[T](self, ask: Callable[[], T]) -> T:
        what = "discover the API"
        try:
            return self._transport.retried(what, ask)
        except ApiException as error:
            raise classify(error.status, error.body, what) from error

    def _object(self, what: str, operation: Callable[..., Response], **arguments: object) -> Object:
        try:
            return self._answer(what, operation, arguments)
        except ApiException as error:
            raise classify(error.status, error.body, what) from error

    def _optional(self, what: str, operation: Callable[..., Response], **arguments: object) -> Object | None:
        try:
            return self._answer(what, operation, arguments)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise classify(error.status, error.body, what) from error

    def _answer(self, what: str, operation: Callable[..., Response], arguments: Mapping[str, object]) -> Object:
        def send() -> Object:
            # As JSON: the library's own objects of it take many times as long, and CRDs are large.
            response = operation(**arguments, serialize=False, _request_timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
            return cast("Object", json.loads(response.read()))

        return self._transport.retried(what, send)


def _named(name: str, namespace: str) -> dict[str, str | None]:
    """Say which object; the library puts names into paths as they are, and those of roles may have any sign."""
    return {"name": quote(name, safe=""), "namespace": namespace or None}


def _unknown(what: str) -> ClusterError:
    return ClusterError(
        f"{what}: the cluster does not know this kind of object",
        remedy="install what defines it first, or correct apiVersion and kind",
    )
