"""The writing half of the OCI distribution API over plain HTTP, as reached through a tunnel: small and streaming."""

import http.client
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from llmprov.bundle.oci import Descriptor
from llmprov.errors import BundleError

# A registry answers the last byte of a layer only once it has it on disk.
_ANSWER_TIMEOUT = 600.0
_SLICE = 16 << 20


class RegistryGoneError(BundleError):
    """The connection broke or the server is overloaded: worth another attempt."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PushClient:
    """One connection to a registry; for one thread.

    Args:
        url: `http://host:port`.
        name: what errors call it; by default the URL.
    """

    def __init__(self, url: str, name: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise BundleError(f"{url!r} is not an address of a registry", remedy="write http://host:port")
        self.name = name or url
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_ANSWER_TIMEOUT)

    def has_manifest(self, repository: str, reference: str, digest: str) -> bool:
        """Tell whether the registry has exactly this manifest under a tag."""
        accept = {
            "Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
        }
        reply = self._request("HEAD", f"/v2/{repository}/manifests/{reference}", accept)
        return reply.status == http.client.OK and reply.headers.get("docker-content-digest") == digest

    def has_blob(self, repository: str, digest: str) -> bool:
        """Tell whether a repository has a blob."""
        return self._request("HEAD", f"/v2/{repository}/blobs/{digest}").status == http.client.OK

    def mount(self, repository: str, digest: str, other: str) -> bool:
        """Let a repository share a blob of another; False when the registry would rather have the bytes."""
        query = urlencode({"mount": digest, "from": other})
        reply = self._request("POST", f"/v2/{repository}/blobs/uploads/?{query}", {"Content-Length": "0"})
        if reply.status == http.client.ACCEPTED:  # an upload was opened instead; leave none behind
            self._request("DELETE", _path(reply.headers["location"]))
        return reply.status == http.client.CREATED

    def upload(self, repository: str, descriptor: Descriptor, path: Path, sent: Callable[[int], None]) -> None:
        """Send a file as a blob, straight from the page cache; `sent` is told each number of bytes."""
        reply = self._request("POST", f"/v2/{repository}/blobs/uploads/", {"Content-Length": "0"})
        self._expect(reply, http.client.ACCEPTED, f"{repository}: cannot open an upload")
        target = _path(reply.headers["location"], digest=descriptor.digest)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size)}
        reply = self._exchange("PUT", target, headers, lambda link: _send_file(link, path, descriptor.size, sent))
        if reply.status == http.client.BAD_REQUEST and b"DIGEST_INVALID" in reply.body:
            raise BundleError(
                f"{path} is damaged: its content is not {descriptor.digest}", remedy="llmprov bundle verify"
            )
        self._expect(reply, http.client.CREATED, f"{repository}: {descriptor.digest} was not accepted")

    def put_manifest(self, repository: str, reference: str, media_type: str, data: bytes) -> None:
        """Store a manifest under a tag; everything it names must be there."""
        headers = {"Content-Type": media_type, "Content-Length": str(len(data))}
        path = f"/v2/{repository}/manifests/{reference}"
        reply = self._exchange("PUT", path, headers, lambda link: link.sendall(data))
        self._expect(reply, http.client.CREATED, f"{repository}:{reference} was not accepted")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self._exchange(method, path, headers or {}, None)

    def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], send: Callable[[socket.socket], None] | None
    ) -> Reply:
        try:
            self._connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                self._connection.putheader(name, value)
            self._connection.endheaders()
            if send is not None:
                send(self._connection.sock)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise RegistryGoneError(
                f"the registry at {self.name} does not answer: {error or type(error).__name__}",
                remedy="check that it runs: llmprov install --until registry",
            ) from error
        if answer.status >= http.client.INTERNAL_SERVER_ERROR or answer.status == http.client.TOO_MANY_REQUESTS:
            self.close()
            raise RegistryGoneError(
                f"the registry at {self.name} answers HTTP {answer.status}",
                remedy="look at its log and its disk: journalctl -u 'llmprov-registry*' on the first control plane",
                details=(body[:500].decode(errors="replace").strip(),) if body else (),
            )
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)

    def _expect(self, reply: Reply, status: int, problem: str) -> None:
        if reply.status == status:
            return
        remedy = "look at the registry's log on the first control plane"
        if reply.status == http.client.METHOD_NOT_ALLOWED:
            remedy = "this is the registry's read-only port; give the writable one, or use -i INVENTORY"
        body = reply.body[:500].decode(errors="replace").strip()
        raise BundleError(
            f"{problem}: the registry at {self.name} answers HTTP {reply.status}",
            remedy=remedy,
            details=(body,) if body else (),
        )


def _send_file(link: socket.socket, path: Path, size: int, sent: Callable[[int], None]) -> None:
    with path.open("rb") as file:
        position = 0
        while position < size:
            count = link.sendfile(file, position, min(_SLICE, size - position))
            if count == 0:
                raise BundleError(f"{path} has {position} bytes, expected {size}", remedy="llmprov bundle verify")
            position += count
            sent(count)


def _path(location: str, **query: str) -> str:
    """The path and query of a location; host and port in it are the far side's view of the tunnel."""
    parts = urlsplit(location)
    pairs = [*parse_qsl(parts.query, keep_blank_values=True), *query.items()]
    return f"{parts.path}?{urlencode(pairs)}" if pairs else parts.path
