"""Waiting for a registry: until it answers, and no longer than told, whatever is in its place."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from llmprov.errors import BundleError
from llmprov.workflows.push_job import _wait


@contextmanager
def answering(*statuses: int) -> Iterator[tuple[str, list[str]]]:
    """Answer with these, the last one again and again."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(statuses[min(len(paths), len(statuses)) - 1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        server.server_close()


def test_a_registry_that_starts_is_waited_for() -> None:
    with answering(503, 404, 200) as (url, paths):
        _wait(url, "cp1:5001", 60)
    assert paths == ["/v2/"] * 3


def test_what_never_answers_as_a_registry_is_given_up_with_its_answer() -> None:
    with answering(503) as (url, _), pytest.raises(BundleError, match="no registry answers at cp1:5001") as caught:
        _wait(url, "cp1:5001", 0.3)
    assert caught.value.details == (f"{url}/v2/ answered 503 Service Unavailable",)


def test_where_nothing_listens_is_given_up_with_the_connections_words() -> None:
    with answering(200) as (url, _):
        pass
    with pytest.raises(BundleError, match="no registry answers") as caught:
        _wait(url, "cp1:5001", 0.3)
    assert "refused" in caught.value.details[0]
