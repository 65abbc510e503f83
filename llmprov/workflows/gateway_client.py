"""Requests to the gateway as a client sends them, through an SSH tunnel to a node: TLS verified, with an API key."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

import urllib3

from llmprov import ssh
from llmprov.cluster.client import Cluster
from llmprov.cluster.transport import Response
from llmprov.errors import HostConnectionError
from llmprov.inventory import Host, Inventory
from llmprov.workflows.certificates import client_context
from llmprov.workflows.gateway_keys import any_key
from llmprov.workflows.gateway_secrets import authority

_CONNECT_SECONDS = 10.0


class GatewayClient:
    """A way in.

    Args:
        pool: reaches a node's port and verifies the gateway's certificate.
        key: the API key.
    """

    def __init__(self, pool: urllib3.HTTPSConnectionPool, key: str) -> None:
        self._pool = pool
        self._key = key

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        key: str | None = None,
        read_timeout: float = 60.0,
    ) -> Iterator[Response]:
        """Send a request and hand its response over, whatever its status.

        Args:
            method: of HTTP.
            path: such as `/v1/models`.
            body: sent as JSON.
            key: another API key than the client's own; empty for none.
            read_timeout: seconds until the next piece of the answer must come.
        """
        own = self._key if key is None else key
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {own}"} if own else {})}
        response = self._pool.request(
            method,
            path,
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=read_timeout),
            preload_content=False,
            retries=False,
            redirect=False,
        )
        try:
            yield response
        finally:
            response.close()


@contextmanager
def open_gateway(cluster: Cluster, inventory: Inventory) -> Iterator[GatewayClient]:
    """Open a way to the gateway for as long as the context lasts, through the first node that lets one through.

    Raises:
        HostConnectionError: no host can be logged into.
        ClusterError: there is no gateway, or no API key.
    """
    key = any_key(cluster)
    context = client_context(authority(cluster))
    with ExitStack() as tunnel:
        host, port = _way_in(inventory, tunnel)
        name = inventory.settings.gateway_host or host.node_address
        pool = urllib3.HTTPSConnectionPool(
            "127.0.0.1", port, ssl_context=context, server_hostname=name, assert_hostname=name, maxsize=4
        )
        with closing(pool):
            yield GatewayClient(pool, key)


def _way_in(inventory: Inventory, tunnel: ExitStack) -> tuple[Host, int]:
    """Open a tunnel to the first node that lets one through, and return the node and the tunnel's port."""
    failures: list[HostConnectionError] = []
    for host in (*inventory.control_plane, *inventory.workers):
        try:
            opened = ssh.tunnel(host.ssh, host.node_address, inventory.settings.gateway_port)
            return host, tunnel.enter_context(opened)
        except HostConnectionError as error:
            failures.append(error)
    raise HostConnectionError(
        "no host can be reached",
        remedy="check that one of them is up and lets you in over SSH",
        details=tuple(failure.message for failure in failures),
    )
