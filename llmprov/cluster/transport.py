"""Requests to one cluster's API: tried again over restarts and dropped tunnels, streamed where answers are long."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event as Signal
from threading import Lock
from typing import Protocol, cast

import urllib3
from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException

from llmprov.cluster.problems import classify
from llmprov.errors import ClusterError, HostConnectionError

THREADS = 8
"""How many requests may be under way at a time without more connections than are kept."""
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
"""Seconds of silence after which a connection is given up."""
_PAUSE = 0.5
# What the library makes of a connection that breaks before TLS is up, as one does whose tunnel has nobody behind it.
_NO_ANSWER = 0
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
    read_timeout: float = READ_TIMEOUT

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
    """Sends requests; several threads may do so at a time.

    Args:
        api: a configured client; its host is replaced when the route is renewed.
        route: finds a new way in when the old one broke.
        patience: seconds to go on trying while the API is away or overloaded.
    """

    def __init__(self, api: ApiClient, route: Route, patience: float) -> None:
        self._api = api
        self._route = route
        self._patience = patience
        self._renewing = Lock()
        self._renewals = 0

    def retried[T](self, what: str, send: Callable[[], T]) -> T:
        """Send until there is an answer that is not about the API being away or overloaded.

        Args:
            what: names the request in the error when there is no answer.
            send: sends it and reads the answer.

        Raises:
            ApiException: the API refuses the request.
            ClusterError: it does not answer.
        """
        deadline = time.monotonic() + self._patience
        while True:
            renewals = self._renewals
            try:
                return send()
            except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
                late = time.monotonic() > deadline
                if isinstance(error, ApiException) and error.status != _NO_ANSWER:
                    if late or error.status not in _TRANSIENT:
                        raise
                elif late:
                    raise unreachable(what, error) from error
                else:
                    self._renew(deadline, renewals)
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
        call = self._api.param_serialize(
            request.method,
            request.path,
            query_params=list(request.query.items()),
            header_params={"Content-Type": "application/json", "Accept": "application/json, */*"},
            body=request.body,
        )
        # What the library has read of it is its head; the body is the caller's.
        answer = self._api.call_api(*call, _request_timeout=(CONNECT_TIMEOUT, request.read_timeout))
        return cast("urllib3.BaseHTTPResponse", answer.response)

    def _renew(self, deadline: float, renewals: int) -> None:
        """Find a new way in, unless another thread has done so since the request was sent."""
        with self._renewing:
            if self._renewals != renewals:
                return
            try:
                self._api.configuration.host = self._route.renew()
            except HostConnectionError:
                if time.monotonic() > deadline:
                    raise
            self._renewals += 1


def unreachable(what: str, error: Exception) -> ClusterError:
    """Make the error of an API that does not answer, with what its connection died of."""
    reason = str(getattr(error, "reason", None) or error)
    return ClusterError(
        f"{what}: the Kubernetes API does not answer",
        remedy="look at the control plane: llmprov status, then `journalctl -u kubelet` on the host",
        details=tuple(reason.splitlines()),
    )
