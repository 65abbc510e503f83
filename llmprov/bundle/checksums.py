"""Published checksum files: a bare digest, or lines of digest and file name."""

import re

from llmprov.errors import BundleError

_LINE = re.compile(r"^(?P<digest>[0-9a-fA-F]{64})(?:\s+[* ]?(?P<name>\S.*?))?\s*$")


def published_sha256(text: str, filename: str, where: str) -> str:
    """Pick the sha256 of `filename`.

    Args:
        text: one bare digest (dl.k8s.io) or `digest  name` lines (SHA256SUMS, .sha256sum).
        filename: the last part of the artifact's URL.
        where: the checksum file's URL, for the error.
    """
    matches = [match for line in text.splitlines() if (match := _LINE.match(line.strip()))]
    bare = [match["digest"].lower() for match in matches if match["name"] is None]
    named = {match["name"].rsplit("/", 1)[-1]: match["digest"].lower() for match in matches if match["name"]}
    if filename in named:
        return named[filename]
    if len(bare) == 1 and not named:
        return bare[0]
    found = ", ".join(sorted(named)) or f"{len(bare)} bare digests"
    raise BundleError(
        f"{where} gives no sha256 for {filename}",
        remedy="check checksum_url in the catalog",
        details=(f"the file lists: {found}" if matches else f"the file starts with: {text[:60]!r}",),
    )
