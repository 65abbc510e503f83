"""Assembling, checking and repairing a bundle directory."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmprov.bundle.assemble import assemble, locked
from llmprov.bundle.build import Artifact
from llmprov.bundle.catalog import ArtifactSpec, BuiltDebs, BuiltFile, BuiltImage, Deb
from llmprov.bundle.layers import TarEntry, tar_layer
from llmprov.bundle.lock import FILES_REF, BundleLock
from llmprov.bundle.oci import ImageConfig, describe, read_index, write_image
from llmprov.bundle.store import Blob, BlobStore
from llmprov.bundle.upstream import OciSource
from llmprov.bundle.verify import verify_bundle
from llmprov.errors import BundleError, ExitCode
from llmprov.progress import NullProgress

SOURCE = OciSource(ref="registry.k8s.io/etcd:1")


def artifacts(store: BlobStore, *, kubelet: bytes = b"kubelet program") -> list[Artifact]:
    def spec(name: str, kind: str, **more: str) -> ArtifactSpec:
        fields = {"name": name, "kind": kind, "version": "1.37.2", "licence": "Apache-2.0", "source": SOURCE}
        return ArtifactSpec.model_validate(fields | more)

    image = write_image(store, [tar_layer(store, [TarEntry("etcd", content=b"etcd program")])], ImageConfig(user="1"))
    deb = Deb("nftables", "1.1.3-1", "nftables_1.1.3-1_amd64.deb", "GPL-2.0-only", store.put_bytes(b"deb"))
    return [
        Artifact(spec("kubelet", "file"), "upstream", BuiltFile(store.put_bytes(kubelet)), SOURCE.ref),
        Artifact(spec("etcd", "image", ref="registry.k8s.io/etcd:3.7.0"), "upstream", BuiltImage(image), SOURCE.ref),
        Artifact(spec("debs-trixie", "debs", suite="trixie"), "registries", BuiltDebs((deb,)), SOURCE.ref),
        Artifact(spec("debs-bookworm", "debs", suite="bookworm"), "registries", BuiltDebs((deb,)), SOURCE.ref),
    ]


def put_together(store: BlobStore, output: Path, chosen: list[Artifact]) -> BundleLock:
    lines = [line for artifact in chosen for line in locked(artifact, store)]
    return assemble(store, output, "auto", lines, NullProgress())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


@pytest.fixture
def lock(store: BlobStore, output: Path) -> BundleLock:
    return put_together(store, output, artifacts(store))


def problems(output: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    report = verify_bundle(output, NullProgress())
    return {Path(item.path).name: (item.problem, item.artifacts) for item in report.findings}


def blob(output: Path, sha256: str) -> Path:
    return output / "blobs" / "sha256" / sha256


def test_the_lock_says_what_is_there(lock: BundleLock, output: Path) -> None:
    assert lock == BundleLock.load(output)
    kubelet = lock.file("kubelet")
    assert (kubelet.version, kubelet.licence, kubelet.size) == ("1.37.2", "Apache-2.0", 15)
    assert kubelet.source == "registry.k8s.io/etcd:1"
    assert blob(output, kubelet.sha256).read_bytes() == b"kubelet program"
    assert lock.image("etcd").ref == "registry.k8s.io/etcd:3.7.0"
    assert lock.suites == ("bookworm", "trixie")
    [deb] = lock.debs("trixie")
    assert (deb.package, deb.filename, deb.version) == ("nftables", "nftables_1.1.3-1_amd64.deb", "1.1.3-1")
    document = json.loads((output / "bundle.lock.json").read_text())
    assert document["schema"] == 1
    assert set(document["artifacts"][0]) >= {"kind", "name", "version", "source", "sha256", "size", "licence"}


def test_files_are_an_artifact_that_a_registry_serves(lock: BundleLock, output: Path) -> None:
    [files, etcd] = read_index(output).manifests
    assert (files.ref, etcd.ref) == (FILES_REF, "registry.k8s.io/etcd:3.7.0")
    manifest = json.loads(blob(output, files.blob.sha256).read_bytes())
    titles = {layer["annotations"]["org.opencontainers.image.title"]: layer["digest"] for layer in manifest["layers"]}
    assert titles == {
        "kubelet": lock.file("kubelet").digest,
        "nftables_1.1.3-1_amd64.deb": lock.debs("trixie")[0].digest,
    }


def test_blobs_are_links_into_the_store(store: BlobStore, lock: BundleLock, output: Path) -> None:
    assert blob(output, lock.file("kubelet").sha256).samefile(store.path(lock.file("kubelet").sha256))


def test_building_again_changes_no_file(store: BlobStore, lock: BundleLock, output: Path) -> None:
    """Not even its time, by which an install knows that it need not look into the files."""

    def files() -> dict[Path, tuple[bytes, int, int]]:
        found = (path for path in output.rglob("*") if path.is_file())
        return {path: (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    before = files()
    assert put_together(store, output, artifacts(store)) == lock
    assert files() == before


def test_what_no_longer_belongs_is_removed(store: BlobStore, lock: BundleLock, output: Path) -> None:
    new = put_together(store, output, artifacts(store, kubelet=b"newer"))
    assert not blob(output, lock.file("kubelet").sha256).exists()
    assert blob(output, new.file("kubelet").sha256).read_bytes() == b"newer"
    assert problems(output) == {}


def test_a_good_bundle_verifies(lock: BundleLock, output: Path) -> None:
    report = verify_bundle(output, NullProgress())
    assert (report.findings, report.blobs) == ((), 7)
    assert report.bytes == sum(path.stat().st_size for path in (output / "blobs/sha256").iterdir())
    assert lock.size > 0


def test_each_bad_file_is_named_with_its_artifact(lock: BundleLock, output: Path) -> None:
    kubelet, etcd = lock.file("kubelet").sha256, lock.image("etcd")
    manifest = json.loads(blob(output, etcd.sha256).read_bytes())
    layer = manifest["layers"][0]["digest"].removeprefix("sha256:")
    config = manifest["config"]["digest"].removeprefix("sha256:")
    deb = lock.debs("trixie")[0].sha256
    for name, content in {kubelet: b"kubelet pwnedam", layer: b"short"}.items():
        blob(output, name).chmod(0o644)
        blob(output, name).write_bytes(content)
    blob(output, config).unlink()
    blob(output, deb).unlink()
    (output / "blobs/sha256/stray").write_text("stray")
    assert problems(output) == {
        kubelet: ("wrong digest", ("kubelet",)),
        layer: ("truncated", ("registry.k8s.io/etcd:3.7.0",)),
        config: ("missing", ("registry.k8s.io/etcd:3.7.0",)),
        deb: ("missing", ("nftables bookworm", "nftables trixie")),
        "stray": ("unreferenced", ()),
    }


def test_a_damaged_manifest_is_named_and_its_layers_are_not_stray_noise(lock: BundleLock, output: Path) -> None:
    path = blob(output, lock.image("etcd").sha256)
    path.chmod(0o644)
    path.write_bytes(b"{" * path.stat().st_size)
    found = problems(output)
    assert found.pop(path.name)[0] == "wrong digest"
    assert {problem for problem, _ in found.values()} <= {"unreferenced"}


def test_index_and_lock_must_agree(output: Path, lock: BundleLock) -> None:
    document = json.loads((output / "index.json").read_text())
    etcd = next(item for item in document["manifests"] if item["digest"] == lock.image("etcd").digest)
    other = dict(etcd, digest="sha256:" + "1" * 64, annotations={"org.opencontainers.image.ref.name": "a.b/x:1"})
    document["manifests"] = [item for item in document["manifests"] if item is not etcd] + [other]
    (output / "index.json").write_text(json.dumps(document))
    found = {(item.problem, item.artifacts) for item in verify_bundle(output, NullProgress()).findings}
    assert ("not in the index", ("etcd",)) in found
    assert ("not in the lock", ("a.b/x:1",)) in found
    assert ("missing", ("a.b/x:1",)) in found


def test_a_finding_reads_well(lock: BundleLock, output: Path) -> None:
    path = blob(output, lock.file("kubelet").sha256)
    path.chmod(0o644)
    path.write_bytes(b"kube")
    [finding] = verify_bundle(output, NullProgress()).findings
    assert finding.line() == f"blobs/sha256/{path.name}: truncated: 4 of 15 bytes (kubelet)"


def test_building_repairs_what_verify_found(store: BlobStore, lock: BundleLock, output: Path) -> None:
    """Even damage that left size and time alone, once verify has seen it."""
    path = blob(output, lock.file("kubelet").sha256)
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"kubelet pwnedam")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert store.has(lock.file("kubelet").sha256), "a glance cannot tell"
    assert problems(output)
    assert not store.has(lock.file("kubelet").sha256)
    put_together(store, output, artifacts(store))
    assert problems(output) == {}


def test_a_bundle_copied_without_times_is_trusted_after_one_look(
    store: BlobStore, lock: BundleLock, output: Path, tmp_path: Path
) -> None:
    carried = tmp_path / "carried"
    shutil.copytree(output, carried, copy_function=shutil.copyfile)
    assert problems(carried) == {}
    path = blob(carried, lock.file("kubelet").sha256)
    path.write_bytes(b"kubelet pwnedam")
    put_together(store, carried, artifacts(store))
    assert problems(carried) == {}
    assert path.read_bytes() == b"kubelet program"


@pytest.fixture
def other_disk(store: BlobStore) -> Iterator[Path]:
    shm = Path("/dev/shm")  # noqa: S108
    if not shm.is_dir() or shm.stat().st_dev == store.root.stat().st_dev:
        pytest.skip("no second file system here")
    directory = Path(tempfile.mkdtemp(dir=shm))
    yield directory
    shutil.rmtree(directory)


def test_a_bundle_can_be_written_onto_another_disk(store: BlobStore, other_disk: Path) -> None:
    put_together(store, other_disk / "bundle", artifacts(store))
    assert problems(other_disk / "bundle") == {}


def test_a_disk_that_is_too_small_is_refused_before_copying(store: BlobStore, other_disk: Path) -> None:
    name = "1" * 64
    with store.path(name).open("wb") as file:
        file.truncate(10**13)  # sparse: takes no space here
    chosen = artifacts(store)[:1]
    huge = Artifact(chosen[0].spec, "upstream", BuiltFile(Blob(name, 10**13)), SOURCE.ref)
    with pytest.raises(BundleError, match=r"needs 10\.0 TB more, its disk has"):
        put_together(store, other_disk / "bundle", [huge])
    assert not list((other_disk / "bundle/blobs/sha256").iterdir())


def test_an_output_that_is_a_file_is_refused(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match=r"file.*: (File exists|Not a directory)"):
        put_together(store, tmp_path / "file", artifacts(store))


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        (None, "no bundle in", "llmprov bundle build"),
        ("{", "is damaged", "llmprov bundle build"),
        ("[]", "is damaged", "llmprov bundle build"),
        ('{"schema": 1, "catalog": "x", "created": "x", "artifacts": [{"kind": "tape"}]}', "is damaged", "build"),
        ('{"schema": 99, "future": true}', "has schema 99; this llmprov reads up to 1", "newer"),
    ],
)
def test_a_lock_that_cannot_be_used_says_why(tmp_path: Path, content: str | None, message: str, remedy: str) -> None:
    if content is not None:
        (tmp_path / "bundle.lock.json").write_text(content)
    with pytest.raises(BundleError, match=message) as caught:
        BundleLock.load(tmp_path)
    assert remedy in caught.value.remedy
    assert caught.value.exit_code is ExitCode.BUNDLE


def test_an_unknown_name_brings_the_likely_one(lock: BundleLock) -> None:
    with pytest.raises(BundleError, match="has no file 'kublet'; did you mean 'kubelet'"):
        lock.file("kublet")
    with pytest.raises(BundleError, match=r"has no image 'vllm'$"):
        lock.image("vllm")
    with pytest.raises(BundleError, match="no packages for 'noble'; it has them for: bookworm, trixie"):
        lock.debs("noble")


def test_descriptors_describe(store: BlobStore) -> None:
    assert describe(store.put_bytes(b"x"), "text/plain").blob.size == 1
