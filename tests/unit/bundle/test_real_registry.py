"""The same pushes and pulls against the CNCF distribution registry, where a bundle with its program is at hand."""

import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmprov import paths
from llmprov.bundle.download import Downloader
from llmprov.bundle.lock import BundleLock
from llmprov.bundle.oci import contents, parse_manifest
from llmprov.bundle.push import Selection, push_bundle
from llmprov.bundle.registry_pull import pull_image
from llmprov.bundle.registry_ref import ImageRef
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError
from llmprov.progress import NullProgress, NullStep
from tests.unit.bundle.test_bundle_directory import artifacts, put_together


def registry_program() -> Path:
    """The registry's program: of the default bundle, or what LLMPROV_TEST_REGISTRY names."""
    if named := os.environ.get("LLMPROV_TEST_REGISTRY"):
        return Path(named)
    bundle = paths.cache_dir() / "bundle"
    try:
        program = bundle / "blobs" / "sha256" / BundleLock.load(bundle).file("registry").sha256
    except BundleError:
        pytest.skip("no bundle with the registry's program here: llmprov bundle build --only registry")
    return program if program.exists() else pytest.skip("the bundle lacks its registry program")


@pytest.fixture
def real_registry(tmp_path: Path) -> Iterator[str]:
    program = tmp_path / "registry"
    shutil.copyfile(registry_program(), program)
    program.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": True}, "level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    environment = os.environ | {"OTEL_TRACES_EXPORTER": "none"}
    argv = [str(program), "serve", str(tmp_path / "config.yml")]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        _wait_until_it_listens(process, port)
        yield f"http://127.0.0.1:{port}"
        process.kill()


def _wait_until_it_listens(process: subprocess.Popen[str], port: int) -> None:
    # Retries are connection attempts to a local port: each returns at once, so this asks as fast as it can be answered.
    while process.poll() is None:
        with socket.socket() as link:
            if link.connect_ex(("127.0.0.1", port)) == 0:
                return
    pytest.fail(f"the registry did not start: {process.stderr.read() if process.stderr else ''}")


def test_a_bundle_goes_in_and_comes_out(real_registry: str, store: BlobStore, tmp_path: Path) -> None:
    lock = put_together(store, tmp_path / "bundle", artifacts(store))
    first = push_bundle(tmp_path / "bundle", real_registry, Selection(), NullProgress())
    assert {item.state for item in first.items} == {"pushed"}
    second = push_bundle(tmp_path / "bundle", real_registry, Selection(), NullProgress())
    assert ({item.state for item in second.items}, second.sent) == ({"present"}, 0)
    assert second.seconds < 1

    url = f"{real_registry}/v2/llmprov/files/blobs/{lock.file('kubelet').digest}"
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - the registry started above
        assert answer.read() == b"kubelet program"

    etcd = lock.image("etcd")
    other = BlobStore(tmp_path / "other")
    ref = ImageRef.parse(f"{real_registry.removeprefix('http://')}/{etcd.ref}")
    image = pull_image(ref, Downloader(other), NullStep())
    assert image.digest == etcd.digest
    parts = contents(image, parse_manifest(other.path(image.digest).read_bytes(), "etcd"))
    assert all(other.has(part.digest, part.size) for part in parts)


def test_a_damaged_blob_is_refused(real_registry: str, store: BlobStore, tmp_path: Path) -> None:
    lock = put_together(store, tmp_path / "bundle", artifacts(store))
    path = tmp_path / "bundle/blobs/sha256" / lock.file("kubelet").sha256
    path.chmod(0o644)
    path.write_bytes(b"kubelet pwnedam")
    with pytest.raises(BundleError, match="is damaged"):
        push_bundle(tmp_path / "bundle", real_registry, Selection(), NullProgress())
