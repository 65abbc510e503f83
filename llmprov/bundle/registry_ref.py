"""Image references: `host/repository:tag@sha256:…`, with the defaults that docker gave short names."""

import re
from dataclasses import dataclass
from typing import Self

from llmprov.errors import BundleError

_SHAPE = re.compile(
    r"^(?P<name>[a-z0-9]+(?:[._:/-]+[a-z0-9]+)*?)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?$"
)
_DOCKER_HUB = "docker.io"
_DOCKER_HUB_SERVER = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A parsed reference; `tag` is `latest` when neither tag nor digest is given."""

    host: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a reference, or raise BundleError."""
        match = _SHAPE.match(text)
        if match is None:
            raise BundleError(f"{text!r} is not an image reference", remedy="write host/repository:tag")
        first, _, rest = match["name"].partition("/")
        if rest and ("." in first or ":" in first or first == "localhost"):
            host, repository = first, rest
        else:
            host, repository = _DOCKER_HUB, match["name"] if rest else f"library/{match['name']}"
        tag = match["tag"] or (None if match["digest"] else "latest")
        return cls(host, repository, tag, match["digest"])

    @property
    def base_url(self) -> str:
        """The server's address. Like docker, plain HTTP is for this machine only."""
        if self.host == _DOCKER_HUB:
            return f"https://{_DOCKER_HUB_SERVER}"
        local = self.host.partition(":")[0] in {"localhost", "127.0.0.1"}
        return f"{'http' if local else 'https'}://{self.host}"

    @property
    def reference(self) -> str:
        """What to ask the server for: the digest if there is one, else the tag."""
        return self.digest or self.tag or "latest"
