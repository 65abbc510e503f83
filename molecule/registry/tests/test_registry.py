"""Role registry: who may read, who may write, and what is there."""

import json
from pathlib import Path

import pytest
from testinfra.host import Host

from llmprov.bundle.lock import BundleLock
from llmprov.paths import cache_dir

LOCK = BundleLock.load(Path(cache_dir()) / "bundle")
READ = "http://127.0.0.1:5000/v2"
PUSH = "http://127.0.0.1:5001/v2"
_REQUEST = """
import sys, urllib.error, urllib.request
method, url = sys.argv[1:]
accept = "application/vnd.oci.image.manifest.v1+json, */*"
request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None, headers={"Accept": accept})
try:
    print(urllib.request.urlopen(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def status(host: Host, method: str, url: str) -> int:
    """Return the HTTP status that the host itself gets; bare hosts have no curl."""
    return int(host.check_output("python3 -c %s %s %s", _REQUEST, method, url))


def test_both_instances_run_and_start_at_boot(cp1: Host) -> None:
    for instance in ("serve", "push"):
        service = cp1.service(f"llmprov-registry@{instance}.service")
        assert service.is_running
        assert service.is_enabled


def test_only_the_loopback_accepts_pushes(cp1: Host) -> None:
    assert cp1.socket("tcp://127.0.0.1:5001").is_listening
    assert not cp1.socket("tcp://0.0.0.0:5001").is_listening
    assert status(cp1, "POST", f"{PUSH}/scratch/blobs/uploads/") == 202
    assert status(cp1, "POST", f"{READ}/scratch/blobs/uploads/") == 405


@pytest.mark.parametrize("name", [artifact.name for artifact in LOCK.files if not artifact.controller])
def test_files_are_served_by_digest(cp1: Host, name: str) -> None:
    digest = LOCK.file(name).digest
    assert status(cp1, "HEAD", f"{READ}/llmprov/files/blobs/{digest}") == 200


@pytest.mark.parametrize("name", [artifact.name for artifact in LOCK.files if artifact.controller])
def test_what_only_the_controller_needs_is_not_there(cp1: Host, name: str) -> None:
    assert status(cp1, "HEAD", f"{READ}/llmprov/files/blobs/{LOCK.file(name).digest}") == 404


def test_a_digest_that_is_not_in_the_bundle_is_refused(cp1: Host) -> None:
    assert status(cp1, "HEAD", f"{READ}/llmprov/files/blobs/sha256:{'0' * 64}") == 404


@pytest.mark.parametrize("name", ["kube-apiserver", "etcd", "pause"])
def test_core_images_are_served_under_their_full_name(cp1: Host, name: str) -> None:
    image = LOCK.image(name)
    repository, _, tag = str(image.ref).rpartition(":")
    assert status(cp1, "HEAD", f"{READ}/{repository}/manifests/{tag}") == 200


def test_it_runs_without_privileges_and_within_its_memory(cp1: Host) -> None:
    for process in cp1.process.filter(comm="llmprov-registr"):
        assert process.user != "root"
        assert int(process.rss) < 150_000


def test_record(cp1: Host) -> None:
    record = json.loads(cp1.file("/var/lib/llmprov/stages/registry.json").content_string)
    assert record["files"]["/usr/local/bin/llmprov-registry"] == LOCK.file("registry").sha256
    assert record["inputs"]["artifact registry"] == LOCK.file("registry").sha256
    assert record["units"] == ["llmprov-registry@push.service", "llmprov-registry@serve.service"]
