import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmprov.bundle import push as module
from llmprov.bundle.catalog import BuiltFile
from llmprov.bundle.layers import TarEntry, tar_layer
from llmprov.bundle.lock import FILES_REF, BundleLock
from llmprov.bundle.oci import ImageConfig, write_image
from llmprov.bundle.push import PushReport, Selection, push_bundle, push_manifests
from llmprov.bundle.registry_push import PushClient
from llmprov.bundle.store import BlobStore
from llmprov.bundle.verify import verify_bundle
from llmprov.errors import BundleError
from llmprov.progress import NullProgress
from tests.unit.bundle.servers import Registry
from tests.unit.bundle.test_bundle_directory import artifacts, put_together


@pytest.fixture
def bundle(store: BlobStore, tmp_path: Path) -> Path:
    put_together(store, tmp_path / "bundle", artifacts(store))
    return tmp_path / "bundle"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACKOFF", 0.001)


def push(bundle: Path, registry: Registry, selection: Selection | None = None) -> PushReport:
    return push_bundle(bundle, registry.url, selection or Selection(), NullProgress())


def stored(registry: Registry) -> int:
    """Bytes in the registry, each once."""
    manifests = {digest: data for (_, digest), (_, data) in registry.manifests.items() if digest.startswith("sha256:")}
    return sum(len(data) for data in (*registry.blobs.values(), *manifests.values()))


def test_everything_arrives(bundle: Path, registry: Registry) -> None:
    report = push(bundle, registry)
    lock = BundleLock.load(bundle)
    kubelet, etcd = lock.file("kubelet"), lock.image("etcd")
    assert registry.blobs["llmprov/files", kubelet.digest] == b"kubelet program"
    assert registry.blobs["llmprov/files", lock.debs("trixie")[0].digest] == b"deb"
    assert (
        registry.manifests["registry.k8s.io/etcd", "3.7.0"] == registry.manifests["registry.k8s.io/etcd", etcd.digest]
    )
    assert [(item.ref, item.state) for item in report.items] == [
        (FILES_REF, "pushed"),
        ("registry.k8s.io/etcd:3.7.0", "pushed"),
    ]
    assert report.sent == stored(registry)


def test_a_second_push_sends_nothing(bundle: Path, registry: Registry) -> None:
    push(bundle, registry)
    registry.log.clear()
    report = push(bundle, registry)
    assert {item.state for item in report.items} == {"present"}
    assert report.sent == 0
    assert sorted(line.split()[0] for line in registry.log) == ["HEAD", "HEAD"]


def test_another_image_under_the_tag_is_replaced(bundle: Path, registry: Registry) -> None:
    registry.add_manifest("registry.k8s.io/etcd", "3.7.0", "application/vnd.oci.image.manifest.v1+json", b"{}")
    assert push(bundle, registry).items[1].state == "pushed"
    digest = BundleLock.load(bundle).image("etcd").digest
    assert registry.manifests["registry.k8s.io/etcd", "3.7.0"] == registry.manifests["registry.k8s.io/etcd", digest]


def test_a_manifest_comes_after_all_its_blobs(bundle: Path, registry: Registry) -> None:
    push(bundle, registry)
    etcd = [line for line in registry.log if "registry.k8s.io/etcd" in line and line.startswith("PUT")]
    assert [("manifests" in line) for line in etcd] == [False, False, True]


@pytest.mark.parametrize(
    ("selection", "repositories"),
    [
        (Selection(files=True), {"llmprov/files"}),
        (Selection(images=("etcd",)), {"registry.k8s.io/etcd"}),
        (Selection(files=True, images=("etcd",)), {"llmprov/files", "registry.k8s.io/etcd"}),
    ],
)
def test_a_part_can_be_pushed(bundle: Path, registry: Registry, selection: Selection, repositories: set[str]) -> None:
    push(bundle, registry, selection)
    assert {repository for repository, _ in registry.manifests} == repositories


def test_what_is_for_the_controller_alone_stays_there(store: BlobStore, tmp_path: Path, registry: Registry) -> None:
    [kubelet, *others] = artifacts(store)
    tool = replace(kubelet, spec=kubelet.spec.model_copy(update={"name": "promtool", "controller": True}))
    tool = replace(tool, built=BuiltFile(store.put_bytes(b"promtool program")))
    lock = put_together(store, tmp_path / "bundle", [kubelet, tool, *others])
    assert verify_bundle(tmp_path / "bundle", NullProgress()).findings == ()
    push(tmp_path / "bundle", registry)
    assert {repository for repository, _ in registry.manifests} == {"llmprov/files", "registry.k8s.io/etcd"}
    assert not any(digest == lock.file("promtool").digest for _, digest in registry.blobs)


def test_an_unknown_image_is_named(bundle: Path, registry: Registry) -> None:
    with pytest.raises(BundleError, match="no image 'etdc'; did you mean 'etcd'"):
        push(bundle, registry, Selection(images=("etdc",)))


def test_blobs_that_are_there_are_skipped(bundle: Path, registry: Registry) -> None:
    kubelet = BundleLock.load(bundle).file("kubelet")
    registry.blobs["llmprov/files", kubelet.digest] = b"kubelet program"
    report = push(bundle, registry)
    assert report.sent == stored(registry) - kubelet.size


def test_a_layer_of_two_images_travels_once(store: BlobStore, registry: Registry) -> None:
    layer = tar_layer(store, [TarEntry("weights", content=b"w" * 100_000)])
    images = [write_image(store, [layer], ImageConfig(user=u)).named(f"llmprov.internal/{u}:1") for u in "ab"]
    report = push_manifests(store.path, images, registry.url, NullProgress())
    assert report.sent < 2 * layer.blob.size
    digest = f"sha256:{layer.blob.sha256}"
    assert registry.blobs["llmprov.internal/a", digest] == registry.blobs["llmprov.internal/b", digest]
    assert any("mount=" in line for line in registry.log)


def test_images_arrive_in_the_order_given(store: BlobStore, registry: Registry) -> None:
    layers = {size: tar_layer(store, [TarEntry("x", content=b"x" * size)]) for size in (3_000_000, 10, 200_000)}
    images = [write_image(store, [layer]).named(f"llmprov.internal/s{size}:1") for size, layer in layers.items()]
    report = push_manifests(store.path, images, registry.url, NullProgress())
    assert [item.ref.split("/s")[1] for item in report.items] == ["3000000:1", "10:1", "200000:1"]


def test_what_comes_after_a_large_image_waits_for_it(
    store: BlobStore, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ALONE", 1_000_000)
    layers = [tar_layer(store, [TarEntry("x", content=b"x" * size)]) for size in (400_000, 3_000_000)]
    large = write_image(store, layers).named("llmprov.internal/large:1")
    small = write_image(store, [tar_layer(store, [TarEntry("y", content=b"y")])]).named("llmprov.internal/small:1")
    push_manifests(store.path, [large, small], registry.url, NullProgress())
    puts = [line for line in registry.log if line.startswith("PUT")]
    small_from = next(index for index, line in enumerate(puts) if "/small/" in line)
    assert "large/manifests" in puts[small_from - 1]
    assert all("/small/" in line for line in puts[small_from:])


def test_a_mount_that_is_declined_leaves_no_upload_behind(registry: Registry) -> None:
    with PushClient(registry.url) as client:
        assert not client.mount("a", "sha256:" + "1" * 64, "b")
    assert registry.log[-1].startswith("DELETE /v2/a/blobs/uploads/7")


def test_a_cut_upload_is_sent_again(bundle: Path, registry: Registry) -> None:
    registry.cut_uploads = 2
    push(bundle, registry)
    assert BundleLock.load(bundle).file("kubelet").digest in {digest for _, digest in registry.blobs}
    assert registry.cut_uploads == 0


def test_a_registry_that_is_not_there_says_so(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"registry at http://127\.0\.0\.1:9 does not answer: .*refused") as caught:
        push_bundle(bundle, "http://127.0.0.1:9", Selection(), NullProgress())
    assert "--until registry" in caught.value.remedy


def test_a_registry_in_trouble_says_so(bundle: Path, registry: Registry) -> None:
    registry.fail_with = 507
    with pytest.raises(BundleError, match="answers HTTP 507") as caught:
        push(bundle, registry)
    assert "disk" in caught.value.remedy


def test_the_read_only_port_is_recognised(bundle: Path, registry: Registry) -> None:
    registry.read_only = True
    with pytest.raises(BundleError, match="HTTP 405") as caught:
        push(bundle, registry)
    assert "read-only port" in caught.value.remedy


def test_a_damaged_blob_never_gets_in(bundle: Path, registry: Registry) -> None:
    kubelet = BundleLock.load(bundle).file("kubelet")
    path = bundle / "blobs/sha256" / kubelet.sha256
    path.chmod(0o644)
    path.write_bytes(b"kubelet pwnedam")
    with pytest.raises(BundleError, match=rf"{kubelet.sha256} is damaged") as caught:
        push(bundle, registry)
    assert caught.value.remedy == "llmprov bundle verify"
    assert ("llmprov/files", kubelet.digest) not in registry.blobs
    assert ("llmprov/files", "bundle") not in registry.manifests


@pytest.mark.parametrize("what", ["blob", "manifest"])
def test_a_missing_blob_is_named(bundle: Path, registry: Registry, what: str) -> None:
    lock = BundleLock.load(bundle)
    sha256 = lock.file("kubelet").sha256 if what == "blob" else lock.image("etcd").sha256
    (bundle / "blobs/sha256" / sha256).unlink()
    with pytest.raises(BundleError, match=sha256) as caught:
        push(bundle, registry)
    assert caught.value.remedy == "llmprov bundle build"


def test_a_truncated_blob_is_named(bundle: Path, registry: Registry) -> None:
    path = bundle / "blobs/sha256" / BundleLock.load(bundle).file("kubelet").sha256
    path.chmod(0o644)
    path.write_bytes(b"kube")
    with pytest.raises(BundleError, match="has 4 bytes, expected 15"):
        push(bundle, registry)


@pytest.mark.parametrize("url", ["https://registry.example", "registry.example:5000", "http://"])
def test_only_plain_addresses_are_taken(bundle: Path, url: str) -> None:
    with pytest.raises(BundleError, match="is not an address of a registry"):
        push_bundle(bundle, url, Selection(), NullProgress())


def test_what_was_refused_is_quoted(registry: Registry) -> None:
    with PushClient(registry.url) as client:
        registry.fail_with = 418
        with pytest.raises(BundleError, match=r"x:1 was not accepted: .*HTTP 418") as caught:
            client.put_manifest("x", "1", "application/json", json.dumps({}).encode())
    assert caught.value.details == ("no",)
