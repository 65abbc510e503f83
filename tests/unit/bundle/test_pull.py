import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from llmprov.bundle.download import Downloader, UnavailableError
from llmprov.bundle.oci import Descriptor, contents, parse_manifest
from llmprov.bundle.registry_auth import stored_credentials
from llmprov.bundle.registry_pull import pull_image
from llmprov.bundle.registry_ref import ImageRef
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError
from llmprov.progress import NullStep
from tests.unit.bundle.servers import Registry

LAYERS = [os.urandom(200_000), os.urandom(100)]
INDEX = "application/vnd.oci.image.index.v1+json"


def pull(registry: Registry, store: BlobStore, reference: str) -> Descriptor:
    ref = ImageRef.parse(f"{registry.host}/{reference}")
    return pull_image(ref, Downloader(store, attempts=2, backoff=0.001), NullStep())


def add_index(registry: Registry, repository: str, tag: str, manifests: dict[str, str]) -> str:
    entries = [
        {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "digest": digest,
            "size": len(registry.manifests[repository, digest][1]),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, digest in manifests.items()
    ]
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    return registry.add_manifest(repository, tag, INDEX, data)


def test_an_image_keeps_its_digest(registry: Registry, store: BlobStore) -> None:
    digest = registry.add_image("coredns/coredns", "v1", LAYERS)
    image = pull(registry, store, "coredns/coredns:v1")
    assert image.digest == digest
    manifest = parse_manifest(store.path(digest).read_bytes(), "it")
    assert manifest.media_type == image.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert all(store.has(part.digest, part.size) for part in contents(image, manifest))


def test_of_several_platforms_linux_amd64_is_pulled(registry: Registry, store: BlobStore) -> None:
    arm = registry.add_image("pause", "arm", [b"arm"])
    amd = registry.add_image("pause", "amd", [b"amd"])
    index = add_index(registry, "pause", "3.10", {"arm64": arm, "amd64": amd})
    assert pull(registry, store, "pause:3.10").digest == amd
    assert pull(registry, store, f"pause@{index}").digest == amd


def test_without_linux_amd64_the_platforms_are_named(registry: Registry, store: BlobStore) -> None:
    add_index(registry, "pause", "1", {"arm64": registry.add_image("pause", "arm", [b"arm"])})
    with pytest.raises(BundleError, match="has no linux/amd64 image") as caught:
        pull(registry, store, "pause:1")
    assert caught.value.details == ("linux/arm64",)


def test_a_manifest_that_is_not_its_digest_is_refused(registry: Registry, store: BlobStore) -> None:
    digest = registry.add_image("pause", "1", [b"x"])
    media_type, data = registry.manifests["pause", digest]
    registry.manifests["pause", digest] = (media_type, data + b" ")
    with pytest.raises(BundleError, match="has digest sha256:") as caught:
        pull(registry, store, f"pause@{digest}")
    assert not isinstance(caught.value, UnavailableError)


def test_a_layer_that_is_not_its_digest_is_refused(registry: Registry, store: BlobStore) -> None:
    registry.add_image("pause", "1", [b"layer"])
    digest = f"sha256:{hashlib.sha256(b'layer').hexdigest()}"
    registry.blobs["pause", digest] = b"other"
    with pytest.raises(BundleError, match="expected"):
        pull(registry, store, "pause:1")


def test_an_answer_that_is_no_manifest_is_refused(registry: Registry, store: BlobStore) -> None:
    registry.add_manifest("pause", "1", "text/html", b"<html>log in first</html>")
    with pytest.raises(BundleError, match="answer is not a manifest"):
        pull(registry, store, "pause:1")


def test_an_unknown_image_is_unavailable(registry: Registry, store: BlobStore) -> None:
    with pytest.raises(UnavailableError, match="HTTP 404"):
        pull(registry, store, "nothing:1")


def test_stored_layers_are_not_fetched(registry: Registry, store: BlobStore) -> None:
    registry.add_image("pause", "1", LAYERS)
    for layer in LAYERS:
        store.put_bytes(layer)
    pull(registry, store, "pause:1")
    assert len([line for line in registry.log if "/blobs/" in line]) == 1


def test_a_token_is_fetched_when_asked_for(registry: Registry, store: BlobStore) -> None:
    registry.token = "secret"
    digest = registry.add_image("vllm/vllm-openai", "v1", LAYERS)
    assert pull(registry, store, "vllm/vllm-openai:v1").digest == digest


def test_without_the_login_that_is_needed_the_remedy_says_so(registry: Registry, store: BlobStore) -> None:
    registry.add_image("private", "1", LAYERS)
    registry.token = "secret"
    registry.wrong_token = "guest"
    with pytest.raises(UnavailableError, match="HTTP 401") as caught:
        pull(registry, store, "private:1")
    assert "skopeo login" in caught.value.remedy


def test_a_login_of_docker_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = base64.b64encode(b"me:password").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": login}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    assert stored_credentials("docker.io") == login
    assert stored_credentials("quay.io") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.k8s.io/pause:3.10", ("registry.k8s.io", "pause", "3.10", None)),
        ("docker.io/vllm/vllm-openai:v1", ("docker.io", "vllm/vllm-openai", "v1", None)),
        ("vllm/vllm-openai", ("docker.io", "vllm/vllm-openai", "latest", None)),
        ("nginx", ("docker.io", "library/nginx", "latest", None)),
        ("localhost:5000/a/b@sha256:" + "0" * 64, ("localhost:5000", "a/b", None, "sha256:" + "0" * 64)),
        ("ghcr.io/x/y:1@sha256:" + "0" * 64, ("ghcr.io", "x/y", "1", "sha256:" + "0" * 64)),
    ],
)
def test_references(text: str, expected: tuple[str, ...]) -> None:
    ref = ImageRef.parse(text)
    assert (ref.host, ref.repository, ref.tag, ref.digest) == expected


def test_docker_hub_lives_elsewhere() -> None:
    assert ImageRef.parse("nginx").base_url == "https://registry-1.docker.io"
    assert ImageRef.parse("quay.io/x").base_url == "https://quay.io"
    assert ImageRef.parse("127.0.0.1:5000/x").base_url == "http://127.0.0.1:5000"


@pytest.mark.parametrize("text", ["", "UPPER/case", "a b", "x@sha256:12", "-x"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="is not an image reference"):
        ImageRef.parse(text)
