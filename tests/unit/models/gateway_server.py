"""Stands where the gateway's proxies would: TLS on loopback, with the certificate from the cluster."""

import contextlib
import json
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from llmprov.manifests.gateway import NAMESPACE, TLS_SECRET
from tests.unit.cluster.fakeapi import FakeApi

GATEWAY_KINDS: dict[str, dict[str, tuple[str, bool]]] = {
    "gateway.networking.k8s.io/v1": {
        "Gateway": ("gateways", True),
        "GatewayClass": ("gatewayclasses", False),
        "HTTPRoute": ("httproutes", True),
    },
    "gateway.envoyproxy.io/v1alpha1": {
        kind: (f"{kind.lower()}s", True)
        for kind in (
            *("EnvoyProxy", "ClientTrafficPolicy", "SecurityPolicy", "EnvoyExtensionPolicy", "BackendTrafficPolicy"),
            "HTTPRouteFilter",
        )
    },
}


def secret(api: FakeApi, name: str) -> dict[str, bytes]:
    stored = api.objects["v1/secrets", NAMESPACE, name]
    return {key: b64decode(value) for key, value in stored.get("data", {}).items() if value is not None}


type Reply = Callable[[str, dict[str, Any]], tuple[int, list[bytes]]]


@contextmanager
def proxies(api: FakeApi, reply: Reply, tmp_path: Path) -> Iterator[int]:
    """Answer on a loopback port with the certificate from the cluster; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, pieces = reply(self.headers.get("Authorization", ""), body)
            self.send_response(status)
            self.end_headers()
            for part in pieces:
                self.wfile.write(part)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for file, key in (("crt", "tls.crt"), ("key", "tls.key")):
        (tmp_path / file).write_bytes(secret(api, TLS_SECRET)[key])
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that went away is none of ours."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    with contextlib.closing(server.socket):
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
