"""From a list of control planes to a connected cluster: credentials over SSH, a tunnel to the API, TLS verified."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

import urllib3
from kubernetes.client import ApiClient, Configuration

from llmprov import ssh
from llmprov.cluster.client import Cluster
from llmprov.cluster.credentials import ControlPlane, Credentials, read_credentials
from llmprov.cluster.transport import THREADS
from llmprov.errors import HostConnectionError


@contextmanager
def connect(planes: Sequence[ControlPlane], *, patience: float = 60.0) -> Iterator[Cluster]:
    """Open a cluster's API for as long as the context lasts.

    Args:
        planes: control planes, tried in this order: one that is down does not lock the user out.
        patience: seconds to go on trying while the API is away.

    Raises:
        HostConnectionError: no control plane can be logged into.
        ClusterError: there is no cluster yet.
    """
    credentials = _first_credentials(planes)
    with _TunnelRoute(planes, credentials) as route, api_client(route.renew(), credentials) as api:
        yield Cluster(api, route, patience=patience)


def _first_credentials(planes: Sequence[ControlPlane]) -> Credentials:
    failures: list[HostConnectionError] = []
    for plane in planes:
        try:
            return read_credentials(plane)
        except HostConnectionError as error:
            failures.append(error)
    raise _joined(failures)


class _TunnelRoute:
    """A tunnel to the API through the first control plane that lets one through."""

    def __init__(self, planes: Sequence[ControlPlane], credentials: Credentials) -> None:
        self._planes = planes
        self._credentials = credentials
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def renew(self) -> str:
        """Close the old tunnel, open a new one, and return the API's URL at its end."""
        self._open.close()
        failures: list[HostConnectionError] = []
        for plane in self._planes:
            try:
                port = self._open.enter_context(ssh.tunnel(plane.ssh, self._credentials.host, self._credentials.port))
            except HostConnectionError as error:
                failures.append(error)
            else:
                return f"https://127.0.0.1:{port}"
        raise _joined(failures)


def api_client(url: str, credentials: Credentials) -> ApiClient:
    """Make a client of the API at `url` that verifies the server by its name in the kubeconfig."""
    configuration = Configuration(host=url)
    # A proxy of the environment has no part in a connection to this machine's own tunnel.
    configuration.proxy = None
    api = ApiClient(configuration)
    # The library takes a client key from a file only. The far end of the tunnel proves who it is by the name in the
    # kubeconfig, not by the tunnel's own address.
    api.rest_client.pool_manager = urllib3.PoolManager(
        ssl_context=credentials.ssl_context(), server_hostname=credentials.host, maxsize=THREADS, retries=False
    )
    return api


def _joined(failures: Sequence[HostConnectionError]) -> HostConnectionError:
    if len(failures) == 1:
        return failures[0]
    return HostConnectionError(
        "no control plane can be reached",
        remedy="check that one of them is up and lets you in over SSH",
        details=tuple(failure.message for failure in failures),
    )
