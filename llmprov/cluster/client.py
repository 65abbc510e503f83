"""One cluster's API: typed, retried over restarts and dropped tunnels, every failure classified."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Event as Signal
from typing import Protocol, cast
from urllib.parse import urlencode

import urllib3
from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ResourceNotFoundError
from kubernetes.dynamic.resource import Resource

from llmprov.cluster.objects import Header, Kind
from llmprov.cluster.problems import classify
from llmprov.errors import ClusterError, HostConnectionError

type Object = Mapping[str, object]

FIELD_MANAGER = "llmprov"
_PAUSE = 0.5
_TIMEOUT = (10.0, 60.0)
_MERGE = "application/merge-patch+json"
_TRANSIENT = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)


class Route(Protocol):
    """How the API is reached; `renew` finds a new way when the old one broke."""

    def renew(self) -> str:
        """Return the base URL of a fresh way in."""
        ...


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


class Response(Protocol):
    """A response whose body is read as it comes."""

    status: int

    def stream(self, amt: int | None = ...) -> Iterator[bytes]:
        """Yield the body in pieces."""
        ...

    def read(self) -> bytes:
        """Return the rest of the body."""
        ...


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
        self._route = route
        self._cache = str(cache)
        self._patience = patience
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
            self._retried("discover the API", lambda: self._resource(kind))
        except ResourceNotFoundError:
            return False
        return True

    def apply(self, target: Object, *, force: bool = False) -> Object:
        """Apply one object server-side, as the owner of the fields it names.

        Args:
            target: the whole object as it should be.
            force: take fields over that somebody else owns, instead of failing.
        """
        header = Header.model_validate(target)
        return self._checked(
            f"apply {header.label}",
            lambda: self._resource(header.resource).server_side_apply(
                body=target,
                name=header.metadata.name,
                namespace=header.metadata.namespace or None,
                field_manager=FIELD_MANAGER,
                force_conflicts=force,
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
            self._retried(
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
        path = self._retried("discover the API", lambda: self._path(kind, namespace))
        try:
            with self.open("GET", path, query=query, read_timeout=seconds + 10) as response:
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

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        read_timeout: float = 60.0,
    ) -> Iterator[Response]:
        """Send a request whose response is read as a stream; a refusal raises ClusterError."""
        with self.exchange(method, path, query=query, body=body, read_timeout=read_timeout) as response:
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise classify(response.status, response.read(), f"{method} {path}")
            yield response

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        read_timeout: float = 60.0,
    ) -> Iterator[Response]:
        """Send a request and hand its response over, whatever its status: what a proxied service answers is its own."""
        pool = self._api.rest_client.pool_manager

        def send() -> urllib3.BaseHTTPResponse:
            return pool.request(
                method,
                f"{self._api.configuration.host}{path}" + (f"?{urlencode(query)}" if query else ""),
                body=None if body is None else json.dumps(body).encode(),
                headers={"Content-Type": "application/json", "Accept": "application/json, */*"},
                timeout=urllib3.Timeout(connect=_TIMEOUT[0], read=read_timeout),
                preload_content=False,
                retries=False,
                redirect=False,
            )

        response = self._retried(f"{method} {path}", send)
        try:
            yield response
        finally:
            response.close()  # not drained: a watch or an answer may be given up half-way

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
            answer = self._retried(what, send)
        except ResourceNotFoundError as error:
            raise ClusterError(
                f"{what}: the cluster does not know this kind of object",
                remedy="install what defines it first, or correct apiVersion and kind",
            ) from error
        return cast("Object", answer.to_dict())  # type: ignore[attr-defined]

    def _retried[T](self, what: str, send: Callable[[], T]) -> T:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return send()
            except ApiException as error:
                if error.status not in _TRANSIENT or time.monotonic() > deadline:
                    raise
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if time.monotonic() > deadline:
                    raise unreachable(what, error) from error
                self._renew(deadline)
            Signal().wait(_PAUSE)

    def _renew(self, deadline: float) -> None:
        try:
            self._api.configuration.host = self._route.renew()
        except HostConnectionError:
            if time.monotonic() > deadline:
                raise


def unreachable(what: str, error: Exception) -> ClusterError:
    """Make the error of an API that does not answer, with what its connection died of."""
    reason = getattr(error, "reason", None) or error
    return ClusterError(
        f"{what}: the Kubernetes API does not answer",
        remedy="look at the control plane: llmprov status, then `journalctl -u kubelet` on the host",
        details=(str(reason),),
    )


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
