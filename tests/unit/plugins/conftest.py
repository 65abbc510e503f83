"""Loads Ansible plugins the way Ansible does: by file, with the module utilities under Ansible's name for them."""

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import ModuleType

import pytest

from llmprov.paths import content_root

PLUGINS = content_root() / "plugins"


@functools.cache
def load_file(kind: str, name: str, module_name: str) -> ModuleType:
    """Import one plugin file."""
    spec = importlib.util.spec_from_file_location(module_name, PLUGINS / kind / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plugin() -> Callable[[str, str], ModuleType]:
    """Return a function that loads a plugin by kind and name."""
    for name in ("llmprov_host", "llmprov_fetch", "llmprov_probe_facts", "llmprov_probe_files"):
        load_file("module_utils", name, f"ansible.module_utils.{name}")
    return lambda kind, name: load_file(kind, name, f"llmprov_test_{kind}_{name}")


@pytest.fixture
def blobs() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Serve blobs at URL/NAME; the dictionary may be filled later."""
    content: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = content.get(self.path.removeprefix("/"))
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", content
        server.shutdown()
