"""Further apt repositories: a key other than the known one is refused, other versions than the pinned are not taken."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from llmprov.bundle.builders.aptrepository import (
    AptRepository,
    preferences,
    primary_fingerprints,
    repository_options,
)
from llmprov.bundle.builders.debian import PackagesBuilder, PackagesSource
from llmprov.bundle.catalog import ArtifactSpec, BuildContext
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError
from tests.unit.bundle.servers import Web

needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg")

LISTING = """tru::1:1790000000:0:3:1:5
pub:-:4096:1:A4B469963BF863CC:1649879000:::-:::scSC::::::23::0:
fpr:::::::::EB693B3035CD5710E231E123A4B469963BF863CC:
uid:-::::1649879000::0123::cudatools <cudatools@nvidia.com>::::::::::0:
sub:-:4096:1:0123456789ABCDEF:1649879000::::::e::::::23:
fpr:::::::::0000000000000000000000000123456789ABCDEF:
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A public key and its fingerprint."""
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    quick = [*gpg, "--passphrase", "", "--quick-generate-key", "test <test@example.org>", "ed25519", "sign", "never"]
    subprocess.run(quick, check=True, capture_output=True)
    listing = subprocess.run([*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, text=True).stdout
    exported = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
    return exported, primary_fingerprints(listing)[0]


def repository(web: Web, fingerprint: str) -> AptRepository:
    return AptRepository(
        url="https://example.org/debian12/",
        key_url=f"{web.url}/key.pub",
        fingerprint=fingerprint,
        versions={"nvidia-* libnvidia-*": "580.159.04-*"},
    )


@pytest.fixture
def context(store: BlobStore, tmp_path: Path) -> BuildContext:
    workdir = tmp_path / "work"
    workdir.mkdir()
    return BuildContext(store=store, workdir=workdir)


@needs_gpg
def test_apt_gets_the_repository_with_its_key_alone(web: Web, key: tuple[bytes, str], context: BuildContext) -> None:
    web.put("/key.pub", key[0])
    options = repository_options(repository(web, key[1]), context)
    work = context.workdir
    assert options == [
        f"--setup-hook=copy-in {work}/repository.list /etc/apt/sources.list.d",
        f"--setup-hook=copy-in {work}/repository.pref /etc/apt/preferences.d",
    ]
    wanted = f"deb [arch=amd64 signed-by={work}/repository.asc] https://example.org/debian12/ ./\n"
    assert (work / "repository.list").read_text() == wanted
    assert (work / "repository.asc").read_bytes() == key[0]


@needs_gpg
def test_another_key_is_refused(web: Web, key: tuple[bytes, str], context: BuildContext) -> None:
    web.put("/key.pub", key[0])
    with pytest.raises(BundleError, match="is not the key AAAA") as caught:
        repository_options(repository(web, "A" * 40), context)
    assert caught.value.details == (f"it holds {key[1]}",)


def test_only_primary_keys_count() -> None:
    assert primary_fingerprints(LISTING) == ("EB693B3035CD5710E231E123A4B469963BF863CC",)
    assert primary_fingerprints("") == ()


def test_other_versions_than_the_pinned_are_never_taken() -> None:
    assert preferences({"nvidia-*": "580.159.04-*"}).split("\n\n") == [
        "Package: nvidia-*\nPin: version 580.159.04-*\nPin-Priority: 1001",
        "Package: nvidia-*\nPin: release *\nPin-Priority: -1\n",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("url", "https://example.org/x/ ./ trusted"), ("url", "http://example.org/"), ("fingerprint", "3BF863CC")],
)
def test_what_apt_could_misread_is_refused(field: str, value: str) -> None:
    known = {"url": "https://example.org/", "key_url": "https://example.org/key", "fingerprint": "A" * 40}
    with pytest.raises(ValidationError):
        AptRepository.model_validate(known | {field: value})


def test_a_repository_needs_gpg_and_is_named(web: Web) -> None:
    source = PackagesSource(suite="bookworm", packages=("nvidia-open",), repository=repository(web, "A" * 40))
    spec = ArtifactSpec(name="d", kind="debs", version="1", suite="bookworm-nvidia", licence="various", source=source)
    assert "gpg" in {need.name for need in PackagesBuilder().requirements(spec)}
    assert source.describe() == "debian:bookworm: nvidia-open (https://example.org/debian12/)"
