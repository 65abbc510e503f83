"""Fetches blobs of the cluster's registry onto a host, each checked against the digest that the controller told it.

Runs on the host's own Python (3.10 or later); the standard library only.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

# The registry is on the cluster's own network: a proxy set for the host's other traffic is never right here.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TIMEOUT_S = 60
_CHUNK = 1 << 20


class ArtifactError(Exception):
    """A file could not be fetched, or is not what the bundle says."""


def fetch(name: str, url: str, sha256: str, directory: Path) -> Path:
    """Fetch a blob into a new temporary file, `.llmprov-…`, of a directory that exists.

    Args:
        name: of the artifact, for errors.
        url: of the blob.
        sha256: what the content must hash to, in lowercase hex.
        directory: on the file system where the file will stay, so that it can be moved into place.

    Raises:
        ArtifactError: the registry does not give it, or the content is another; no file is left.
    """
    descriptor, path = tempfile.mkstemp(prefix=".llmprov-", dir=directory)
    temporary = Path(path)
    try:
        found = _receive(url, descriptor)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        temporary.unlink()
        raise ArtifactError(
            f"{name}: cannot fetch {url}: {error}; is the registry of the first control plane up, "
            "and was the bundle pushed (`llmprov bundle push`)?"
        ) from error
    if found != sha256:
        temporary.unlink()
        raise ArtifactError(
            f"{name}: {url} has sha256 {found}, the bundle says {sha256}; "
            "run `llmprov bundle verify` and push the bundle again"
        )
    return temporary


def _receive(url: str, descriptor: int) -> str:
    """Write a response into an open file, close it, and return the sha256 of what came."""
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "wb") as target, OPENER.open(url, timeout=_TIMEOUT_S) as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()
