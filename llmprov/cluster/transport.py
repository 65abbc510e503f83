"""Requests to one cluster's API: tried again over restarts and dropped tunnels, streamed where answers are long."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event as Signal
from typing import Protocol
from urllib.parse import urlencode

import urllib3
from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException

from llmprov.cluster.problems import classify
from llmprov.errors import ClusterError, HostConnectionError

_PAUSE = 0.5
_CONNECT_TIMEOUT = 10.0
_TRANSIENT = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)


class Route(Protocol):
    """How the API is reached; `renew` finds a new way when the old one broke."""

    def renew(self) -> str:
        """Return the base URL of a fresh way in."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; `read_timeout` is the seconds of silence after which the connection is given up."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    read_timeout: float = 60.0

    @property
    def what(self) -> str:
        """What errors call it."""
        return f"{self.method} {self.path}"


class Response(Protocol):
    """A response whose body is read as it comes."""

    status: int

    def stream(self, amt: int | None = ...) -> Iterator[bytes]:
        """Yield the body in pieces."""
        ...

    def read(self) -> bytes:
        """Return the rest of the body."""
        ...


class Transport:
    """Sends requests.

    Args:
        api: a configured client; its host is replaced when the route is renewed.
        route: finds a new way in when the old one broke.
        patience: seconds to go on trying while the API is away or overloaded.
    """

    def __init__(self, api: ApiClient, route: Route, patience: float) -> None:
        self._api = api
        self._route = route
        self._patience = patience

    def retried[T](self, what: str, send: Callable[[], T]) -> T:
        """Send until there is an answer; `what` names the request in the error when there is none."""
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

    @contextmanager
    def open(self, request: Request) -> Iterator[Response]:
        """Send a request whose response is read as a stream; a refusal raises ClusterError."""
        with self.exchange(request) as response:
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise classify(response.status, response.read(), request.what)
            yield response

    @contextmanager
    def exchange(self, request: Request) -> Iterator[Response]:
        """Send a request and hand its response over, whatever its status: what a proxied service answers is its own."""
        response = self.retried(request.what, lambda: self._send(request))
        try:
            yield response
        finally:
            response.close()  # not drained: a watch or an answer may be given up half-way

    def _send(self, request: Request) -> urllib3.BaseHTTPResponse:
        response: urllib3.BaseHTTPResponse = self._api.rest_client.pool_manager.request(
            request.method,
            f"{self._api.configuration.host}{request.path}" + (f"?{urlencode(request.query)}" if request.query else ""),
            body=None if request.body is None else json.dumps(request.body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json, */*"},
            timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT, read=request.read_timeout),
            preload_content=False,
            retries=False,
            redirect=False,
        )
        return response

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
