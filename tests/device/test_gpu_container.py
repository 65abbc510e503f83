"""The GPU roles on a machine with a GPU, and a container under containerd that sees it through the roles' CDI spec.

They write to /etc, /run and /usr/local/bin of this machine, so they only run where LLMPROV_DEVICE_ROLES=1 lets them.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from llmprov.bundle.lock import LOCK_FILE, BundleLock
from llmprov.paths import cache_dir, content_root
from tests.device.conftest import Gpu

pytestmark = pytest.mark.device

UNIT = Path("/etc/systemd/system/llmprov-cdi.service")
SPEC = Path("/run/cdi/nvidia.json")
NEEDED = ("containerd", "runc", "nvidia-ctk")
START_SECONDS = 20
INVENTORY = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: %(python)s}
  children:
    control_plane: {hosts: {gpu1: {}}}
    gpu_workers: {hosts: {gpu1: {}}}
"""


@dataclass(frozen=True)
class Containerd:
    """A containerd of this test's own."""

    directory: Path

    def ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command of its client."""
        command = [str(self.directory / "bin" / "ctr"), "--address", str(self.directory / "sock"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


class _Blobs(SimpleHTTPRequestHandler):
    """Serves blobs where the cluster's registry would."""

    def translate_path(self, path: str) -> str:
        return str(Path(self.directory) / path.rpartition(":")[2])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def bundle() -> BundleLock:
    if os.environ.get("LLMPROV_DEVICE_ROLES") != "1":
        pytest.skip(
            "writes to this machine's /etc and /usr/local/bin: set LLMPROV_DEVICE_ROLES=1 where that is all right"
        )
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = cache_dir() / "bundle"
    if not (directory / LOCK_FILE).exists():
        pytest.skip(f"needs a bundle with {', '.join(NEEDED)}: make bundle")
    return BundleLock.load(directory)


def _blob(bundle: BundleLock, name: str) -> Path:
    return cache_dir() / "bundle" / "blobs" / "sha256" / bundle.file(name).sha256.removeprefix("sha256:")


@pytest.fixture(scope="module")
def ran(bundle: BundleLock, gpus: tuple[Gpu, ...], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The roles' output, of their first run on this machine."""
    assert bundle.file("nvidia-ctk")
    directory = tmp_path_factory.mktemp("roles")
    inventory = directory / "hosts.yml"
    inventory.write_text(INVENTORY % {"python": sys.executable}, encoding="utf-8")
    handler = partial(_Blobs, directory=str(cache_dir() / "bundle" / "blobs" / "sha256"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        variables = {
            "nvidia_driver_install": False,
            "nvidia_driver_version": gpus[0].driver,
            "cluster_registry_host": "127.0.0.1",
            "cluster_registry_port": server.server_address[1],
        }
        output = _play(inventory, variables)
        assert "changed=0" in _play(inventory, variables), "the second run changes nothing"
        server.shutdown()
    return output


def _play(inventory: Path, variables: dict[str, object]) -> str:
    root = content_root()
    program = shutil.which("ansible-playbook")
    command = [program] if program else [sys.executable, "-m", "ansible", "playbook"]
    playbook = str(Path(__file__).parent / "roles.yml")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [*command, "--inventory", str(inventory), "--extra-vars", json.dumps(variables), playbook],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=root,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def spec(ran: str) -> dict[str, object]:
    """The CDI spec, made by the commands of the role's own unit."""
    assert "failed=0" in ran
    lines = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if line.startswith("ExecStart=")]
    for line in lines:
        subprocess.run(shlex.split(line.removeprefix("ExecStart=")), check=True, capture_output=True, timeout=60)
    parsed: dict[str, object] = json.loads(SPEC.read_text(encoding="utf-8"))
    return parsed


def test_the_roles_run_and_leave_their_record(ran: str) -> None:
    assert "failed=0" in ran
    record = json.loads(Path("/var/lib/llmprov/stages/nvidia_driver.json").read_text(encoding="utf-8"))
    assert "/etc/modprobe.d/50-llmprov-nvidia.conf" in record["files"]
    for program in ("nvidia-ctk", "nvidia-cdi-hook"):
        assert os.access(f"/usr/local/bin/{program}", os.X_OK)


def test_the_spec_names_every_gpu_and_a_hook_that_is_there(spec: dict[str, object], gpus: tuple[Gpu, ...]) -> None:
    assert spec["kind"] == "nvidia.com/gpu"
    devices = spec["devices"]
    assert isinstance(devices, list)
    names = {device["name"] for device in devices}
    assert names >= {"all", *(str(index) for index in range(len(gpus))), *(gpu.uuid for gpu in gpus)}
    edits = [spec["containerEdits"], *(device["containerEdits"] for device in devices)]
    hooks = {hook["path"] for edit in edits for hook in edit.get("hooks", [])}
    assert hooks == {"/usr/local/bin/nvidia-cdi-hook"}


def test_a_runtime_sees_the_devices(spec: dict[str, object]) -> None:
    assert spec["devices"]
    listed = subprocess.run(
        ["/usr/local/bin/nvidia-ctk", "--quiet", "cdi", "list"], capture_output=True, text=True, check=True
    )
    assert "nvidia.com/gpu=all" in listed.stdout.split()


@pytest.fixture
def containerd(bundle: BundleLock, tmp_path: Path) -> Iterator[Containerd]:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    with tarfile.open(_blob(bundle, "containerd")) as archive:
        archive.extractall(binaries, filter="data")
    for program in binaries.rglob("containerd*"):
        program.chmod(0o755)
    shutil.copy(_blob(bundle, "runc"), binaries / "runc")
    (binaries / "runc").chmod(0o755)
    config = tmp_path / "config.toml"
    config.write_text(
        f'version = 4\nroot = "{tmp_path}/root"\nstate = "{tmp_path}/state"\n'
        'disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", '
        '"io.containerd.grpc.v1.cri"]\n'
        f"[plugins.'io.containerd.server.v1.grpc']\naddress = \"{tmp_path}/sock\"\n"
        f"[plugins.'io.containerd.server.v1.ttrpc']\naddress = \"{tmp_path}/sock.ttrpc\"\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [str(binaries / "containerd"), "--config", str(config)]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        running = Containerd(tmp_path)
        try:
            deadline = time.monotonic() + START_SECONDS
            while running.ctr("version").returncode:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                Event().wait(0.1)
            yield running
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture
def root_file_system(tmp_path: Path) -> Path:
    """What a dynamic program needs to start, and nothing of the driver's."""
    root = tmp_path / "rootfs"
    for name in ("lib64", "usr/lib/x86_64-linux-gnu", "etc", "dev", "proc", "sys", "tmp", "usr/bin", "run"):
        (root / name).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    shutil.copy("/lib64/ld-linux-x86-64.so.2", root / "lib64")
    for library in ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"):
        shutil.copy(Path("/lib/x86_64-linux-gnu") / library, root / "usr/lib/x86_64-linux-gnu")
    return root


def test_a_container_sees_its_gpu_and_another_none(
    spec: dict[str, object], gpus: tuple[Gpu, ...], containerd: Containerd, root_file_system: Path
) -> None:
    program = next(mount for mount in _mounts(spec) if mount.endswith("/nvidia-smi"))
    run = ("run", "--rm", "--rootfs")
    seen = containerd.ctr(*run, "--device", "nvidia.com/gpu=0", str(root_file_system), "with", program, "-L")
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert gpus[0].uuid in seen.stdout
    assert gpus[0].name in seen.stdout
    blind = containerd.ctr(*run, str(root_file_system), "without", program, "-L")
    assert blind.returncode != 0
    assert gpus[0].uuid not in blind.stdout


def _mounts(spec: dict[str, object]) -> list[str]:
    edits = spec["containerEdits"]
    assert isinstance(edits, dict)
    return [str(mount["containerPath"]) for mount in edits["mounts"]]
