"""Further apt repositories beside Debian's; a key is known by its fingerprint before apt trusts what it signed."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from llmprov.bundle.builders.requirements import Requirement, program
from llmprov.bundle.catalog import BuildContext
from llmprov.bundle.download import Downloader
from llmprov.errors import BundleError

# Above the 1000 at which apt also takes an older version than another repository's.
_PRIORITY = 1001


class AptRepository(BaseModel):
    """A flat repository: packages and their index in one directory.

    Attributes:
        url: the directory.
        key_url: its signing key.
        fingerprint: of that key, 40 hexadecimal digits.
        versions: globs of package names, and the version that these must have: `{"nvidia-*": "580.159.04-*"}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(pattern=r"^(https|file)://?[^\s\"]+/$")
    key_url: str = Field(pattern=r"^https?://")
    fingerprint: str = Field(pattern=r"^[0-9A-F]{40}$")
    versions: Mapping[str, str] = Field(default_factory=dict)


def gpg_requirement() -> Requirement:
    """What reads a key's fingerprint."""
    return program("gpg", "checks the keys of package repositories", "gnupg")


def repository_options(repository: AptRepository, context: BuildContext) -> list[str]:
    """Fetch and check the key, and return the options that make mmdebstrap's apt use the repository.

    Raises:
        UnavailableError: the key cannot be had.
        BundleError: it is another key.
    """
    context.step.update(f"asking {repository.url}")
    key = context.workdir / "repository.asc"
    key.write_bytes(Downloader(context.store, context.cancelled).document(repository.key_url)[1])
    _check(key, repository, context)
    sources = context.workdir / "repository.list"
    sources.write_text(f"deb [arch=amd64 signed-by={key}] {repository.url} ./\n")
    pins = context.workdir / "repository.pref"
    pins.write_text(preferences(repository.versions))
    return [
        f"--setup-hook=copy-in {sources} /etc/apt/sources.list.d",
        f"--setup-hook=copy-in {pins} /etc/apt/preferences.d",
    ]


def preferences(versions: Mapping[str, str]) -> str:
    """The apt preferences that allow only these versions."""
    stanzas = [
        f"Package: {names}\nPin: version {version}\nPin-Priority: {_PRIORITY}\n\n"
        f"Package: {names}\nPin: release *\nPin-Priority: -1\n"
        for names, version in sorted(versions.items())
    ]
    return "\n".join(stanzas)


def primary_fingerprints(listing: str) -> tuple[str, ...]:
    """The fingerprints of the primary keys in gpg's listing with colons: the `fpr` line that follows each `pub`."""
    found = []
    after_primary = False
    for fields in (line.split(":") for line in listing.splitlines()):
        if fields[0] == "fpr" and after_primary:
            found.append(fields[9])
        if fields[0] in {"pub", "sub", "fpr"}:
            after_primary = fields[0] == "pub"
    return tuple(found)


def _check(key: Path, repository: AptRepository, context: BuildContext) -> None:
    home = context.workdir / "gnupg"
    home.mkdir(mode=0o700)
    argv = ["gpg", "--homedir", str(home), "--batch", "--with-colons", "--show-keys", str(key)]
    found = primary_fingerprints(context.run(argv))
    if found != (repository.fingerprint,):
        raise BundleError(
            f"{repository.key_url} is not the key {repository.fingerprint}",
            remedy="find out from the publisher whether the key was changed, then correct the catalog",
            details=tuple(f"it holds {fingerprint}" for fingerprint in found) or ("it holds no key",),
        )
