"""Servers on the loopback interface that misbehave on request."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qs, urlsplit

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest_of(data: bytes) -> str:
    """The digest with its algorithm."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Page:
    """A file on the web server.

    `faults` are used up one per request: an int cuts the connection after that many bytes, a string `503` answers so.
    """

    body: bytes
    etag: str = '"v1"'
    ranges: bool = True
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    faults: list[int | str] = field(default_factory=list)


@dataclass
class Web:
    """A small web server; `requests` holds (path, Range header) of each request."""

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def put(self, path: str, body: bytes, **options: object) -> str:
        """Serve a page with the options of `Page`, and return its URL."""
        self.pages[path] = Page(body, **options)  # type: ignore[arg-type]
        return self.url + path

    def ranges(self, path: str) -> list[str]:
        """The ranges that were asked of a page."""
        return [wanted for seen, wanted in self.requests if seen == path]


@dataclass
class Registry:
    """An OCI registry in memory, as much of the API as clients use.

    Attributes:
        token: ask for this bearer token, and give it to who asks.
        wrong_token: give this one instead.
        read_only: refuse uploads as the distribution registry does.
        cut_uploads: close the connection of so many uploads.
        fail_with: answer everything with this status.
    """

    url: str = ""
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    token: str = ""
    wrong_token: str = ""
    read_only: bool = False
    cut_uploads: int = 0
    fail_with: int = 0

    @property
    def host(self) -> str:
        """The host and port, as image references name it."""
        return self.url.removeprefix("http://")

    def add_image(self, repository: str, tag: str, layers: list[bytes]) -> str:
        """Add an image in docker's format, and return its digest."""
        config = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
        parts = [self._add_blob(repository, data) for data in (config, *layers)]
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **parts[0]},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", **p} for p in parts[1:]],
        }
        return self.add_manifest(repository, tag, DOCKER_MANIFEST, json.dumps(manifest).encode())

    def add_manifest(self, repository: str, tag: str, media_type: str, data: bytes) -> str:
        """Add any document as a manifest, and return its digest."""
        digest = digest_of(data)
        self.manifests[repository, tag] = self.manifests[repository, digest] = (media_type, data)
        return digest

    def _add_blob(self, repository: str, data: bytes) -> dict[str, object]:
        self.blobs[repository, digest_of(data)] = data
        return {"digest": digest_of(data), "size": len(data)}


class _Server[S](http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler], state: S) -> None:
        self.state = state
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send a whole response."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _WebHandler(_Handler):
    @property
    def site(self) -> Web:
        """What is served."""
        return cast("_Server[Web]", self.server).state

    def do_GET(self) -> None:
        """Serve a page or its fault."""
        wanted = self.headers.get("Range", "")
        self.site.requests.append((self.path, wanted))
        page = self.site.pages.get(self.path)
        if page is None:
            self.answer(404, b"nothing here")
            return
        fault = page.faults.pop(0) if page.faults else None
        if isinstance(fault, str):
            self.answer(int(fault), headers={"Retry-After": "0"})
            return
        unchanged = self.headers.get("If-Range", page.etag) == page.etag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and page.ranges and unchanged else 0
        if start and start >= len(page.body):
            self.answer(416)
            return
        self._send(page, start, fault)

    def _send(self, page: Page, start: int, cut: int | None) -> None:
        body = page.body[start:]
        self.send_response(206 if start else page.status)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(page.body) - 1}/{len(page.body)}")
        if page.etag:
            self.send_header("ETag", page.etag)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = cut is not None


class _RegistryHandler(_Handler):
    @property
    def registry(self) -> Registry:
        """What is served."""
        return cast("_Server[Registry]", self.server).state

    def do_HEAD(self) -> None:
        """Like GET; `answer` leaves the body out."""
        self.do_GET()

    def do_GET(self) -> None:
        """Serve a token, manifest or blob."""
        if self.path.startswith("/token"):
            self.answer(200, json.dumps({"token": self.registry.wrong_token or self.registry.token}).encode())
            return
        if not self._enter():
            return
        repository, kind, reference = self._parts()
        manifest = self.registry.manifests.get((repository, reference)) if kind == "manifests" else None
        blob = self.registry.blobs.get((repository, reference)) if kind == "blobs" else None
        if manifest is not None:
            headers = {"Content-Type": manifest[0], "Docker-Content-Digest": digest_of(manifest[1])}
            self.answer(200, manifest[1], headers)
        elif blob is not None:
            self.answer(200, blob)
        else:
            self.answer(404 if kind else 200)

    def do_POST(self) -> None:
        """Open an upload, or mount a blob of another repository."""
        if not self._enter():
            return
        if self.registry.read_only:
            self.answer(405, b'{"errors":[{"code":"UNSUPPORTED"}]}')
            return
        repository = self.path.removeprefix("/v2/").partition("/blobs/")[0]
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        blobs = self.registry.blobs
        if query and (query["from"], query["mount"]) in blobs:
            blobs[repository, query["mount"]] = blobs[query["from"], query["mount"]]
            self.answer(201)
            return
        # Absolute, as the distribution registry answers: the host is the far side's view.
        self.answer(202, headers={"Location": f"http://far.side:5001/v2/{repository}/blobs/uploads/7?_state=a%2Bb"})

    def do_DELETE(self) -> None:
        """Give an upload up."""
        if self._enter():
            self.answer(204)

    def do_PUT(self) -> None:
        """Take a blob or a manifest."""
        if self.registry.cut_uploads and "uploads" in self.path:
            self.registry.cut_uploads -= 1
            self.close_connection = True
            return
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._enter():
            return
        repository, kind, reference = self._parts()
        if kind == "manifests":
            self.registry.add_manifest(repository, reference, self.headers["Content-Type"], data)
            self.answer(201)
            return
        query = parse_qs(urlsplit(self.path).query)
        if query != {"digest": [digest_of(data)], "_state": ["a+b"]}:
            self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
            return
        self.registry.blobs[repository, digest_of(data)] = data
        self.answer(201)

    def _enter(self) -> bool:
        """Write the log; refuse what is to be refused."""
        registry = self.registry
        registry.log.append(f"{self.command} {self.path}")
        if registry.fail_with:
            self.answer(registry.fail_with, b"no")
            return False
        if registry.token and self.headers.get("Authorization") != f"Bearer {registry.token}":
            challenge = f'Bearer realm="{registry.url}/token",service="test",scope="repository:x:pull"'
            self.answer(401, headers={"WWW-Authenticate": challenge})
            return False
        return True

    def _parts(self) -> tuple[str, str, str]:
        path = urlsplit(self.path).path.removeprefix("/v2/")
        for kind in ("manifests", "blobs"):
            repository, found, reference = path.partition(f"/{kind}/")
            if found:
                return repository, kind, reference
        return path, "", ""


@contextmanager
def web_server() -> Iterator[Web]:
    """Run a web server."""
    site = Web()
    with _running(_Server(_WebHandler, site)) as site.url:
        yield site


@contextmanager
def registry_server() -> Iterator[Registry]:
    """Run a registry."""
    registry = Registry()
    with _running(_Server(_RegistryHandler, registry)) as registry.url:
        yield registry


@contextmanager
def _running[S](server: _Server[S]) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
