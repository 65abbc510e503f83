"""How tests reach the gateway: its address, key and authority, from inside the lab's network."""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import openai

KEY_VARIABLE = "LLMPROV_LOAD_KEY"
_NAMESPACE = re.compile(r"nsenter --net='([^']+)'")


@dataclass(frozen=True)
class Endpoint:
    """Where requests go.

    `authority` is the gateway's certificate authority, PEM; empty for an endpoint without TLS. `server_name` is the
    name to verify, where it is not that of the URL: at the end of a tunnel.
    """

    url: str
    key: str = field(repr=False, default="unused")
    authority: str = ""
    server_name: str = ""

    def context(self) -> ssl.SSLContext:
        """What verifies the server."""
        return ssl.create_default_context(cadata=self.authority) if self.authority else ssl.create_default_context()

    def asynchronous(self, *, connections: int = 1000, keep_alive: bool = True) -> openai.AsyncOpenAI:
        """The stock client, which never tries again by itself."""
        limits = httpx2.Limits(
            max_connections=connections, max_keepalive_connections=connections if keep_alive else 0, keepalive_expiry=30
        )
        transport = _Named(self.server_name, verify=self.context(), limits=limits, trust_env=False)
        http = httpx2.AsyncClient(transport=transport, trust_env=False)
        return openai.AsyncOpenAI(base_url=self.url, api_key=self.key, http_client=http, max_retries=0)

    def client(self, key: str | None = None) -> openai.OpenAI:
        """The stock client, as a user writes it."""
        http = httpx2.Client(verify=self.context(), trust_env=False)
        return openai.OpenAI(
            base_url=self.url, api_key=self.key if key is None else key, http_client=http, max_retries=0
        )


class _Named(httpx2.AsyncHTTPTransport):
    """Verifies the server by a name that is not that of the URL."""

    def __init__(self, name: str, **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self._name = name

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._name:
            request.extensions = {**request.extensions, "sni_hostname": self._name}
        return await super().handle_async_request(request)


def lab_network(inventory: Path) -> str:
    """The file of the lab's network namespace, from the ssh_config that the lab wrote; empty for real hosts."""
    config = inventory / "ssh.cfg"
    found = _NAMESPACE.search(config.read_text()) if config.exists() else None
    return found[1] if found else ""


@contextmanager
def inside(network: str) -> Iterator[None]:
    """Let this thread open its connections inside a network namespace, for as long as the context lasts."""
    with open("/proc/thread-self/ns/net") as own, open(network) as other:  # noqa: PTH123 - a descriptor to go back to
        os.setns(other.fileno(), os.CLONE_NEWNET)
        try:
            yield
        finally:
            os.setns(own.fileno(), os.CLONE_NEWNET)
