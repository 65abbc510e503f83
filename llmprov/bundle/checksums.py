"""Published checksums: a bare digest, lines of digest and name, GitHub's word on a release, an index of packages."""

import re

from pydantic import BaseModel, TypeAdapter, ValidationError

from llmprov.errors import BundleError

_LINE = re.compile(r"^(?P<digest>[0-9a-fA-F]{64})(?:\s+[* ]?(?P<name>\S.*?))?\s*$")
_STANZA = re.compile(r"^Filename: ", re.MULTILINE)
_FIELD = re.compile(r"^(Filename|SHA256):[ ]*(\S+)", re.MULTILINE)


class _Asset(BaseModel):
    """A file of a GitHub release; old ones have no digest."""

    name: str
    digest: str | None = None


class _Release(BaseModel):
    assets: list[_Asset]


_RELEASE = TypeAdapter(_Release)


def published_sha256(text: str, filename: str, where: str) -> str:
    """Pick the sha256 of `filename`.

    Args:
        text: one bare digest (dl.k8s.io), `digest  name` lines (SHA256SUMS, .sha256sum), the answer of
            api.github.com/repos/<owner>/<name>/releases/tags/<tag>, or the Packages file of an apt repository.
        filename: the last part of the artifact's URL.
        where: the checksum file's URL, for the error.
    """
    if text.lstrip().startswith("{"):
        return _of_release(text, filename, where)
    if _STANZA.search(text):
        return _of_index(text, filename, where)
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


def _of_release(text: str, filename: str, where: str) -> str:
    try:
        assets = {asset.name: asset.digest for asset in _RELEASE.validate_json(text).assets}
    except ValidationError as error:
        raise BundleError(f"{where} does not describe a release", remedy="check checksum_url in the catalog") from error
    algorithm, _, digest = (assets.get(filename) or "").partition(":")
    if algorithm != "sha256":
        raise BundleError(
            f"{where} gives no sha256 for {filename}",
            remedy="check url and checksum_url in the catalog",
            details=(f"the release has: {', '.join(sorted(assets)) or 'no files'}",),
        )
    return digest.lower()


def _of_index(text: str, filename: str, where: str) -> str:
    stanzas: list[dict[str, str]] = [dict(_FIELD.findall(stanza)) for stanza in text.split("\n\n")]
    digests = {
        fields["Filename"].rsplit("/", 1)[-1]: fields.get("SHA256", "") for fields in stanzas if "Filename" in fields
    }
    if not (digest := digests.get(filename)):
        package = filename.split("_", 1)[0]
        alike = ", ".join(sorted(name for name in digests if name.startswith(f"{package}_"))) or "none"
        raise BundleError(
            f"{where} gives no sha256 for {filename}",
            remedy="check url and version in the catalog",
            details=(f"packages of that name: {alike}",),
        )
    return digest.lower()
