import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from llmprov.bundle import download as module
from llmprov.bundle.checksums import published_sha256
from llmprov.bundle.download import Downloader, UnavailableError
from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError
from tests.unit.bundle.servers import Web

BODY = os.urandom(3 << 20)
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def downloader(store: BlobStore) -> Downloader:
    return Downloader(store, attempts=3, backoff=0.001)


def leftovers(store: BlobStore) -> list[str]:
    partial = store.root / "partial"
    return [path.name for path in partial.iterdir()] if partial.is_dir() else []


def test_a_file_lands_in_the_store(web: Web, downloader: Downloader) -> None:
    seen: list[tuple[int, int | None]] = []
    blob = downloader.fetch(web.put("/kubelet", BODY), sha256=SHA, on_bytes=lambda *at: seen.append(at))
    assert downloader.store.path(blob.sha256).read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert leftovers(downloader.store) == []


def test_a_stored_file_is_not_fetched_again(web: Web, downloader: Downloader) -> None:
    url = web.put("/kubelet", BODY)
    downloader.fetch(url, sha256=SHA)
    downloader.fetch(url, sha256=SHA)
    assert len(web.requests) == 1


def test_a_redirect_is_followed(web: Web, downloader: Downloader) -> None:
    target = web.put("/cdn/file", BODY)
    url = web.put("/releases/file", b"", status=302, headers={"Location": target})
    assert downloader.fetch(url, sha256=SHA).size == len(BODY)


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(web: Web, downloader: Downloader) -> None:
    with pytest.raises(BundleError, match=f"has sha256 {SHA}.*expected 1111") as caught:
        downloader.fetch(web.put("/kubelet", BODY), sha256="1" * 64)
    assert not isinstance(caught.value, UnavailableError)
    assert leftovers(downloader.store) == []
    assert not downloader.store.has(SHA)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_the_server_does_not_give_is_unavailable_at_once(web: Web, downloader: Downloader, status: int) -> None:
    with pytest.raises(UnavailableError, match=f"HTTP {status}"):
        downloader.fetch(web.put("/kubelet", b"no", status=status), sha256=SHA)
    assert len(web.requests) == 1


def test_a_cut_connection_is_resumed_where_it_was_cut(web: Web, downloader: Downloader) -> None:
    url = web.put("/kubelet", BODY, faults=[1_000_000, 500_000])
    assert downloader.fetch(url, sha256=SHA).sha256 == SHA
    assert web.ranges("/kubelet") == ["", "bytes=1000000-", "bytes=1500000-"]


def test_progress_resets_the_patience(web: Web, downloader: Downloader) -> None:
    url = web.put("/kubelet", BODY, faults=[100_000] * 10)
    assert downloader.fetch(url, sha256=SHA).sha256 == SHA


def test_a_download_that_never_completes_says_how_much_came(web: Web, downloader: Downloader) -> None:
    url = web.put("/kubelet", BODY, ranges=False, faults=[1000] * 10)
    with pytest.raises(UnavailableError, match=r"cannot be fetched: .*1000.*\(\d attempts\)"):
        downloader.fetch(url, sha256=SHA)


def test_the_next_run_goes_on(web: Web, downloader: Downloader) -> None:
    url = web.put("/kubelet", BODY, faults=[2_000_000, "500", "500"])
    with pytest.raises(UnavailableError, match="HTTP 500"):
        downloader.fetch(url, sha256=SHA)
    web.requests.clear()
    assert downloader.fetch(url, sha256=SHA).sha256 == SHA
    assert web.ranges("/kubelet") == ["bytes=2000000-"]


def test_a_file_that_changed_meanwhile_is_fetched_whole(web: Web, downloader: Downloader) -> None:
    url = web.put("/kubelet", b"old" * 1_000_000, faults=[1_000_000, "500", "500"])
    with pytest.raises(UnavailableError):
        downloader.fetch(url, sha256=None)
    web.put("/kubelet", BODY, etag='"v2"')
    assert downloader.fetch(url, sha256=None).sha256 == SHA


def test_parts_of_two_versions_are_never_joined(web: Web, downloader: Downloader) -> None:
    """The server names no version, so only the checksum can tell."""
    url = web.put("/kubelet", b"old" * 1_000_000, etag="", faults=[1_000_000, "500", "500"])
    with pytest.raises(UnavailableError):
        downloader.fetch(url, sha256=SHA)
    web.put("/kubelet", BODY, etag="")
    assert downloader.fetch(url, sha256=SHA).sha256 == SHA
    assert web.ranges("/kubelet")[-2:] == ["bytes=1000000-", ""]


def test_without_version_and_checksum_nothing_is_resumed(web: Web, downloader: Downloader) -> None:
    url = web.put("/kubelet", BODY, etag="", faults=[1_000_000])
    assert downloader.fetch(url, sha256=None).sha256 == SHA
    assert web.ranges("/kubelet") == ["", ""]


def test_a_part_longer_than_the_file_is_thrown_away(web: Web, downloader: Downloader) -> None:
    url = web.put("/kubelet", b"long" * 1_000_000, faults=[3_500_000, "500", "500"])
    with pytest.raises(UnavailableError):
        downloader.fetch(url, sha256=SHA)
    web.put("/kubelet", BODY)
    assert downloader.fetch(url, sha256=SHA).sha256 == SHA


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", 0])
def test_passing_trouble_is_waited_out(web: Web, downloader: Downloader, fault: str | int) -> None:
    url = web.put("/kubelet", BODY, faults=[fault, fault])
    assert downloader.fetch(url, sha256=SHA).sha256 == SHA


def test_a_server_that_is_not_there_is_unavailable(downloader: Downloader) -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1.*\(3 attempts\)"):
        downloader.fetch("http://127.0.0.1:9/kubelet", sha256=SHA)


def test_cancelling_ends_a_wait_at_once(web: Web, store: BlobStore) -> None:
    cancelled = threading.Event()
    downloader = Downloader(store, cancelled, backoff=60)
    threading.Timer(0.1, cancelled.set).start()
    with pytest.raises(BundleError, match="interrupted while fetching"):
        downloader.fetch(web.put("/kubelet", BODY, faults=["503"]), sha256=SHA)


def test_two_at_once_fetch_once(web: Web, downloader: Downloader) -> None:
    url = web.put("/kubelet", BODY)
    blobs: list[str] = []
    threads = [
        threading.Thread(target=lambda: blobs.append(downloader.fetch(url, sha256=SHA).sha256)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert blobs == [SHA] * 4
    assert leftovers(downloader.store) == []


def test_https_never_falls_to_http() -> None:
    hops = [SimpleNamespace(url="https://dl.example/x")]
    response = SimpleNamespace(history=hops, url="http://mirror.example/x", status_code=200)
    with pytest.raises(BundleError, match="redirects from https to http"):
        module._check(response, "https://dl.example/x")  # type: ignore[arg-type]


def test_a_huge_document_is_refused(web: Web, downloader: Downloader) -> None:
    with pytest.raises(BundleError, match="is larger than"):
        downloader.document(web.put("/sums", b"0" * (5 << 20)))


def test_the_innermost_reason_is_shown() -> None:
    error = requests.ConnectionError(OSError("outer", OSError("name not known")))
    assert module._short(error) == "name not known"


KILLED = """
import sys
from pathlib import Path
from llmprov.bundle.download import Downloader
from llmprov.bundle.store import BlobStore
Downloader(BlobStore(Path(sys.argv[1]))).fetch(sys.argv[2], sha256=sys.argv[3],
    on_bytes=lambda done, total: print(done, flush=True) if done else None)
"""


def test_a_killed_download_is_resumed(web: Web, store: BlobStore, downloader: Downloader) -> None:
    url = web.put("/kubelet", BODY, faults=[2_000_000, *["503"] * 50])
    argv = [sys.executable, "-c", KILLED, str(store.root), url, SHA]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "2000000":
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    web.pages["/kubelet"].faults.clear()
    web.requests.clear()
    assert downloader.fetch(url, sha256=SHA).sha256 == SHA
    assert web.ranges("/kubelet") == ["bytes=2000000-"]


A, B = "a" * 64, "B" * 64
RELEASE = f"""{{"tag_name": "v1.0", "assets": [
  {{"name": "install.yaml", "size": 5, "digest": "sha256:{B}"}}, {{"name": "old.yaml", "digest": null}},
  {{"name": "odd.yaml", "digest": "sha512:{A}"}}]}}"""
INDEX = f"""Package: tool
Filename: ./tool_1.0-1_amd64.deb
Size: 5
SHA256: {B}
SHA512: {A}

Package: tool
Filename: ./tool_2.0-1_amd64.deb
SHA256: {A}

Package: other
Filename: pool/o/other_1.0-1_amd64.deb
"""


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (A, "kubelet", A),
        (f"{B}\n", "kubelet", B.lower()),
        (f"{A}  runc.amd64\n{B}  runc.arm64\n", "runc.arm64", B.lower()),
        (f"{A} *cni.tgz\n", "cni.tgz", A),
        (f"{A}  ./release/cni.tgz\n", "cni.tgz", A),
        (f"-----BEGIN PGP SIGNED MESSAGE-----\n\n{A}  runc.amd64\n", "runc.amd64", A),
        (RELEASE, "install.yaml", B.lower()),
        (INDEX, "tool_1.0-1_amd64.deb", B.lower()),
    ],
)
def test_checksum_files_of_all_shapes(text: str, name: str, expected: str) -> None:
    assert published_sha256(text, name, "sums") == expected


@pytest.mark.parametrize("text", ["", "<html>", f"{A}  other\n", f"{A}\n{B}\n", f"{A[:40]}  runc.amd64"])
def test_a_checksum_file_that_does_not_say_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match=r"sums gives no sha256 for runc\.amd64"):
        published_sha256(text, "runc.amd64", "sums")


@pytest.mark.parametrize(
    ("text", "name", "detail"),
    [
        (RELEASE, "old.yaml", "the release has: install.yaml, odd.yaml, old.yaml"),
        (RELEASE, "odd.yaml", "the release has: install.yaml, odd.yaml, old.yaml"),
        (INDEX, "other_1.0-1_amd64.deb", "packages of that name: other_1.0-1_amd64.deb"),
        (INDEX, "tool_3.0-1_amd64.deb", "packages of that name: tool_1.0-1_amd64.deb, tool_2.0-1_amd64.deb"),
    ],
)
def test_what_a_release_or_an_index_lacks_is_told(text: str, name: str, detail: str) -> None:
    with pytest.raises(BundleError, match=f"sums gives no sha256 for {name}") as caught:
        published_sha256(text, name, "sums")
    assert caught.value.details == (detail,)


def test_an_answer_that_is_no_release_is_refused() -> None:
    with pytest.raises(BundleError, match="does not describe a release"):
        published_sha256('{"message": "API rate limit exceeded"}', "install.yaml", "sums")


def test_the_checksum_comes_from_the_server(web: Web, downloader: Downloader, tmp_path: Path) -> None:
    assert tmp_path.is_dir()
    assert downloader.checksum(web.put("/SHA256SUMS", f"{SHA}  kubelet\n".encode()), "kubelet") == SHA
