"""`bundle.lock.json`: what a bundle holds, each artifact with version, source, sha256, size and licence."""

import difflib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmprov.bundle.oci import write_whole
from llmprov.errors import BundleError

LOCK_FILE = "bundle.lock.json"
SCHEMA = 1
FILES_REPOSITORY = "llmprov/files"
FILES_TAG = "bundle"
CONTROLLER_REPOSITORY = "llmprov/controller"
FILES_REF = f"{FILES_REPOSITORY}:{FILES_TAG}"
CONTROLLER_REF = f"{CONTROLLER_REPOSITORY}:{FILES_TAG}"


class LockedArtifact(BaseModel):
    """One artifact.

    Attributes:
        sha256: of the file or package; of the manifest for an image. Lowercase hex.
        size: bytes; for an image the sum of its blobs.
        ref: images: the reference hosts pull.
        suite: packages: the Debian suite.
        package: packages: the Debian package name.
        filename: packages: the archive's file name.
        catalog: which catalog it was built from.
        controller: files: for the controller alone, never pushed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["file", "image", "deb"]
    name: str
    version: str
    source: str
    sha256: str
    size: int
    licence: str
    ref: str | None = None
    suite: str | None = None
    package: str | None = None
    filename: str | None = None
    catalog: str = ""
    controller: bool = False

    @property
    def digest(self) -> str:
        """`sha256:<hex>`."""
        return f"sha256:{self.sha256}"


class _Header(BaseModel):
    schema_version: int = Field(alias="schema")


class BundleLock(BaseModel):
    """The lock of one bundle directory."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_version: int = Field(default=SCHEMA, alias="schema")  # BaseModel has a method named schema
    catalog: str
    created: str
    artifacts: tuple[LockedArtifact, ...] = ()

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the lock of a bundle directory; every failure says what to do."""
        path = directory / LOCK_FILE
        try:
            text = path.read_text()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleError(
                f"no bundle in {directory}: {LOCK_FILE} is missing", remedy="llmprov bundle build"
            ) from error
        try:
            return cls._parse(text, path)
        except ValidationError as error:
            raise BundleError(
                f"{path} is damaged", remedy="llmprov bundle build", details=schema_findings(error)
            ) from error

    @classmethod
    def _parse(cls, text: str, path: Path) -> Self:
        header = _Header.model_validate_json(text)
        if header.schema_version > SCHEMA:
            raise BundleError(
                f"{path} has schema {header.schema_version}; this llmprov reads up to {SCHEMA}",
                remedy="use the llmprov that built the bundle, or a newer one (pip install --upgrade llmprov)",
            )
        return cls.model_validate_json(text)

    @classmethod
    def of(cls, catalog: str, artifacts: Iterable[LockedArtifact]) -> Self:
        """A lock made now."""
        ordered = sorted(artifacts, key=lambda item: (item.kind, item.suite or "", item.name))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(catalog=catalog, created=now, artifacts=tuple(ordered))

    def save(self, directory: Path) -> None:
        """Write the lock in one step; a lock that says the same as the one on disk leaves that alone."""
        try:
            old = BundleLock.load(directory)
        except BundleError:
            old = None
        if old is None or old.model_copy(update={"created": self.created}) != self:
            document = self.model_dump_json(indent=2, by_alias=True, exclude_none=True)
            write_whole(directory / LOCK_FILE, document.encode() + b"\n")

    @property
    def images(self) -> tuple[LockedArtifact, ...]:
        """All images."""
        return tuple(item for item in self.artifacts if item.kind == "image")

    @property
    def files(self) -> tuple[LockedArtifact, ...]:
        """All single files."""
        return tuple(item for item in self.artifacts if item.kind == "file")

    @property
    def suites(self) -> tuple[str, ...]:
        """The Debian suites that packages are here for."""
        return tuple(sorted({item.suite for item in self.artifacts if item.suite}))

    @property
    def size(self) -> int:
        """Bytes of all artifacts; blobs that images share are counted for each."""
        return sum(item.size for item in self.artifacts)

    def file(self, name: str) -> LockedArtifact:
        """The file of that name."""
        return self._one("file", name, self.files)

    def image(self, name: str) -> LockedArtifact:
        """The image of that name."""
        return self._one("image", name, self.images)

    def debs(self, suite: str) -> tuple[LockedArtifact, ...]:
        """The packages of a Debian suite."""
        found = tuple(item for item in self.artifacts if item.kind == "deb" and item.suite == suite)
        if not found:
            raise BundleError(
                f"the bundle has no packages for {suite!r}; it has them for: {', '.join(self.suites) or 'no suite'}",
                remedy="llmprov bundle build --catalog registries",
            )
        return found

    def _one(self, kind: str, name: str, among: tuple[LockedArtifact, ...]) -> LockedArtifact:
        for item in among:
            if item.name == name:
                return item
        names = [item.name for item in among]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise BundleError(
            f"the bundle has no {kind} {name!r}{hint}", remedy="llmprov bundle build", details=tuple(names)
        )


def schema_findings(error: ValidationError) -> tuple[str, ...]:
    """What is wrong with a document, one line each."""
    return tuple(
        f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
        for item in error.errors(include_url=False)
    )
