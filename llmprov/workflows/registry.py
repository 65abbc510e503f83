"""Reads the cluster's registry: which models it has, and the digest that a tag stands for."""

from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

import requests

from llmprov.bundle.oci import MANIFEST_TYPES, Manifest, parse_manifest
from llmprov.errors import BundleError

_TIMEOUT = 30.0
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Stored:
    """An image in the registry; `size` is the bytes of its layers."""

    repository: str
    tag: str
    digest: str
    size: int

    @property
    def reference(self) -> str:
        """`repository:tag`."""
        return f"{self.repository}:{self.tag}"


class Registry:
    """A registry at `url` (`http://host:port`), as the end of a tunnel is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        # The environment's proxy has no part in a connection to this machine's own tunnel.
        self._session.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def digest(self, repository: str, tag: str) -> str | None:
        """Return the manifest digest of a tag, None when there is no such image."""
        answer = self._ask("HEAD", f"/v2/{repository}/manifests/{tag}")
        return answer.headers.get("Docker-Content-Digest") if answer.status_code == HTTPStatus.OK else None

    def stored(self, prefix: str) -> tuple[Stored, ...]:
        """Return every tagged image whose repository begins with `prefix`."""
        names = self._json(f"/v2/_catalog?n={_PAGE}").get("repositories") or []
        return tuple(
            self._stored(name, tag)
            for name in sorted(str(name) for name in _list(names))
            if name.startswith(prefix)
            for tag in sorted(str(tag) for tag in _list(self._json(f"/v2/{name}/tags/list").get("tags") or []))
        )

    def _stored(self, repository: str, tag: str) -> Stored:
        answer = self._ask("GET", f"/v2/{repository}/manifests/{tag}")
        manifest: Manifest = parse_manifest(answer.content, f"{repository}:{tag}")
        size = sum(layer.size for layer in manifest.layers)
        return Stored(repository, tag, answer.headers["Docker-Content-Digest"], size)

    def _json(self, path: str) -> dict[str, object]:
        answer = self._ask("GET", path)
        body: dict[str, object] = answer.json() if answer.status_code == HTTPStatus.OK else {}
        return body

    def _ask(self, method: str, path: str) -> requests.Response:
        headers = {"Accept": ", ".join(sorted(MANIFEST_TYPES))}
        try:
            answer = self._session.request(method, f"{self.url}{path}", headers=headers, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise BundleError(
                "the cluster's registry does not answer",
                remedy="llmprov install --until registry, then look at: journalctl -u 'llmprov-registry*'",
                details=(str(error),),
            ) from error
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise BundleError(
                f"the cluster's registry answers HTTP {answer.status_code}",
                remedy="look at its log and disk on the first control plane: journalctl -u 'llmprov-registry*'",
            )
        return answer


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
