"""A real etcd and kube-apiserver on loopback: no kubelet, no controllers, so a test sets every status itself."""

import base64
import hashlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest

from llmprov import paths
from llmprov.bundle.lock import LOCK_FILE, BundleLock
from llmprov.bundle.oci import parse_manifest
from llmprov.cluster.client import Cluster
from llmprov.cluster.credentials import Credentials, parse_kubeconfig
from llmprov.cluster.session import api_client

READY_SECONDS = 30


class _Direct:
    """The API server listens here, so there is one way in."""

    def __init__(self, url: str) -> None:
        self._url = url

    def renew(self) -> str:
        return self._url


def _binary(name: str, directory: Path) -> Path | None:
    """Find a program: on PATH, or in the image of that name in the user's bundle."""
    if found := shutil.which(name):
        return Path(found)
    bundle = paths.cache_dir() / "bundle"
    if not (bundle / LOCK_FILE).exists():
        return None
    manifest = parse_manifest(_blob(bundle, BundleLock.load(bundle).image(name).sha256).read_bytes(), name)
    for layer in manifest.layers:
        archive = ("tar", "--extract", "--zstd", "--file", _blob(bundle, layer.digest), "--directory", directory)
        subprocess.run(archive, check=True)
    return Path(shutil.which(name, path=directory / "usr/local/bin") or pytest.fail(f"image {name} has no {name}"))


def _blob(bundle: Path, digest: str) -> Path:
    return bundle / "blobs" / "sha256" / digest.removeprefix("sha256:")


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Credentials]:
    directory = tmp_path_factory.mktemp("apiserver")
    etcd, apiserver = (_binary(name, directory) for name in ("etcd", "kube-apiserver"))
    if etcd is None or apiserver is None:
        pytest.skip("no etcd and kube-apiserver on PATH and no bundle to take them from: make bundle")
    certificates = _certificates(directory)
    with ExitStack() as running:
        peer, client, port = (_free_port() for _ in range(3))
        running.enter_context(_process(directory / "etcd.log", _etcd_command(etcd, directory, client, peer)))
        command = _apiserver_command(apiserver, certificates, client, port)
        server = running.enter_context(_process(directory / "apiserver.log", command))
        config = parse_kubeconfig(_kubeconfig(certificates, port).encode(), where="test")
        _wait_ready(config, server, directory / "apiserver.log")
        yield config


@pytest.fixture
def cluster(credentials: Credentials) -> Cluster:
    url = f"https://127.0.0.1:{credentials.port}"
    return Cluster(api_client(url, credentials), _Direct(url), patience=10)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    name = "t-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def _certificates(directory: Path) -> Path:
    """A CA, a server certificate for `kubernetes`, an administrator and a service account key."""
    openssl = (
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    )
    for name, subject, extra in (
        ("ca", "/CN=test-ca", ("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")),
        ("server", "/CN=kubernetes", ("-addext", "subjectAltName=DNS:kubernetes", *_signed(directory))),
        ("admin", "/O=system:masters/CN=admin", _signed(directory)),
        ("accounts", "/CN=accounts", ()),
    ):
        files = ("-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.crt")
        subprocess.run([*openssl, "-subj", subject, *files, *extra], check=True, capture_output=True)
    return directory


def _signed(directory: Path) -> tuple[str, ...]:
    authority = ("-CA", f"{directory}/ca.crt", "-CAkey", f"{directory}/ca.key")
    return (*authority, "-addext", "basicConstraints=critical,CA:FALSE")


def _etcd_command(etcd: Path, directory: Path, client: int, peer: int) -> list[str]:
    url = f"http://127.0.0.1:{client}"
    peers = f"http://127.0.0.1:{peer}"
    return [
        str(etcd),
        *("--data-dir", f"{directory}/etcd", "--unsafe-no-fsync"),
        *("--listen-client-urls", url, "--advertise-client-urls", url),
        *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"),
    ]


def _apiserver_command(apiserver: Path, certificates: Path, etcd: int, port: int) -> list[str]:
    return [
        str(apiserver),
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        *("--bind-address=127.0.0.1", "--endpoint-reconciler-type=none", f"--secure-port={port}"),
        *(f"--tls-cert-file={certificates}/server.crt", f"--tls-private-key-file={certificates}/server.key"),
        f"--client-ca-file={certificates}/ca.crt",
        *("--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16"),
        *("--service-account-issuer=https://test", f"--service-account-key-file={certificates}/accounts.crt"),
        f"--service-account-signing-key-file={certificates}/accounts.key",
        "--disable-admission-plugins=ServiceAccount",
        # As kubeadm sets it; Pod Security decides where.
        "--allow-privileged=true",
    ]


def _kubeconfig(certificates: Path, port: int) -> str:
    def data(name: str) -> str:
        return base64.b64encode((certificates / name).read_bytes()).decode()

    return f"""
clusters: [{{name: c, cluster: {{server: "https://kubernetes:{port}", certificate-authority-data: {data("ca.crt")}}}}}]
users: [{{name: u, user: {{client-certificate-data: {data("admin.crt")}, client-key-data: {data("admin.key")}}}}}]
"""


@contextmanager
def _process(log: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait_ready(credentials: Credentials, server: subprocess.Popen[bytes], log: Path) -> None:
    context = credentials.ssl_context()
    context.check_hostname = False
    deadline, last = time.monotonic() + READY_SECONDS, ""
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{credentials.port}/readyz", context=context, timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            last = str(error)
            Event().wait(0.2)
    pytest.fail(f"the API server did not become ready ({last}):\n{log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
