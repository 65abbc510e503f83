"""One cluster's API: typed, retried over restarts and dropped tunnels, every failure classified."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import cast

import urllib3
from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ResourceNotFoundError
from kubernetes.dynamic.resource import Resource

from llmprov.cluster.objects import Header, Kind
from llmprov.cluster.problems import classify
from llmprov.cluster.transport import Request, Response, Route, Transport
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
    """The Kubernetes API of one cluster.

    Args:
        api: a configured client; its host is replaced when the route is renewed.
        route: finds a new way in when the old one broke.
        cache: a private file for what the API serves; it must not be shared with other clusters or users.
        patience: seconds to go on trying while the API is away or overloaded.
    """

    def __init__(self, api: ApiClient, route: Route, *, cache: Path, patience: float = 60.0) -> None:
        self._api = api
        self._transport = Transport(api, route, patience)
        self._cache = str(cache)
        self._dynamic: DynamicClient | None = None

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """Return one object, or None when there is none."""
        what = f"get {kind.kind} {name}"
        try:
            return self._object(what, lambda: self._resource(kind).get(name=name, namespace=namespace or None))
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise classify(error.status, error.body, what) from error

    def list(self, kind: Kind, namespace: str = "", *, selector: str = "", fields: str = "") -> Listing:
        """Return the objects of a kind in a namespace, or in all of them when it is empty."""
        answer = self._checked(
            f"list {kind.kind}",
            lambda: self._resource(kind).get(
                namespace=namespace or None, label_selector=selector or None, field_selector=fields or None
            ),
        )
        meta = cast("Mapping[str, str]", answer["metadata"])
        items = cast("list[dict[str, object]]", answer.get("items") or [])
        # The items of a list do not repeat its kind.
        whole = tuple({"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in items)
        return Listing(whole, meta["resourceVersion"])

    def serves(self, kind: Kind) -> bool:
        """Tell whether the cluster knows a kind."""
        try:
            self._transport.retried("discover the API", lambda: self._resource(kind))
        except ResourceNotFoundError:
            return False
        return True

    def groups(self) -> frozenset[str]:
        """Return the groups and versions that the cluster serves: `v1`, `apps/v1`. Asked anew each time."""
        with self.open("GET", "/apis") as response:
            answer = json.loads(response.read())
        return frozenset({"v1", *(v["groupVersion"] for group in answer["groups"] for v in group["versions"])})

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
        return self._checked(
            f"apply {header.label}",
            lambda: self._resource(header.resource).server_side_apply(
                body=target,
                name=header.metadata.name,
                namespace=header.metadata.namespace or None,
                field_manager=manager,
                force_conflicts=force,
                **({"dry_run": "All"} if dry_run else {}),
            ),
        )

    def merge(self, kind: Kind, name: str, patch: Object, *, namespace: str = "", subresource: str = "") -> Object:
        """Patch one object (JSON merge patch), or a subresource of it."""
        path = f"{subresource} of " if subresource else ""

        def send() -> object:
            resource = self._resource(kind)
            target = getattr(resource, subresource) if subresource else resource
            return target.patch(
                body=patch, name=name, namespace=namespace or None, content_type=_MERGE, field_manager=FIELD_MANAGER
            )

        return self._checked(f"patch {path}{kind.kind} {name}", send)

    def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete one object and, in the background, what it owns; it may already be gone."""
        what = f"delete {kind.kind} {name}"
        options = {"propagationPolicy": "Background"}
        try:
            self._transport.retried(
                what,
                lambda: self._resource(kind).delete(name=name, namespace=namespace or None, body=options),
            )
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise classify(error.status, error.body, what) from error

    def watch(self, kind: Kind, namespace: str, *, selector: str, version: str, seconds: float) -> Iterator[Change]:
        """Yield what changes after `version`; ends after `seconds`, or when the connection does.

        Raises:
            WatchExpiredError: the server has forgotten `version`.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "labelSelector": selector,
            "timeoutSeconds": str(max(1, int(seconds))),
            "allowWatchBookmarks": "true",
        }
        path = self._transport.retried("discover the API", lambda: self._path(kind, namespace))
        try:
            request = Request(method="GET", path=path, query=query, read_timeout=seconds + 10)
            with self._transport.open(request) as response:
                yield from _changes(response)
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
        with self.open("GET", "/version") as response:
            return str(json.loads(response.read())["gitVersion"])

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

    def _resource(self, kind: Kind) -> Resource:
        if self._dynamic is None:
            self._dynamic = DynamicClient(self._api, cache_file=self._cache)  # type: ignore[no-untyped-call]
        return cast("Resource", self._dynamic.resources.get(api_version=kind.api_version, kind=kind.kind))

    def _path(self, kind: Kind, namespace: str) -> str:
        return str(self._resource(kind).path(namespace=namespace or None))  # type: ignore[no-untyped-call]

    def _checked(self, what: str, send: Callable[[], object]) -> Object:
        try:
            return self._object(what, send)
        except ApiException as error:
            raise classify(error.status, error.body, what) from error

    def _object(self, what: str, send: Callable[[], object]) -> Object:
        try:
            answer = self._transport.retried(what, send)
        except ResourceNotFoundError as error:
            raise ClusterError(
                f"{what}: the cluster does not know this kind of object",
                remedy="install what defines it first, or correct apiVersion and kind",
            ) from error
        return cast("Object", answer.to_dict())  # type: ignore[attr-defined]


def _changes(response: Response) -> Iterator[Change]:
    buffer = b""
    for piece in response.stream():
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            yield _change(json.loads(line))


def _change(event: Mapping[str, object]) -> Change:
    body = cast("Mapping[str, object]", event["object"])
    if event["type"] == "ERROR":
        if body.get("code") == HTTPStatus.GONE:
            raise WatchExpiredError
        raise classify(int(str(body.get("code", 500))), json.dumps(body), "watch")
    return Change(str(event["type"]), body)
