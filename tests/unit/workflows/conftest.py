"""Content of the tests' own: the product's roles and plugins, but playbooks that do next to nothing."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from llmprov import paths
from llmprov.bundle.lock import BundleLock
from llmprov.errors import ClusterError
from llmprov.ssh import RemoteResult
from llmprov.workflows import lock
from llmprov.workflows.host_lock import HostLock

INSTALL = """
- name: Base
  hosts: "{{ llmprov_hosts.base }}"
  gather_facts: false
  tags: [base]
  tasks:
    - name: Touch a file
      ansible.builtin.copy: {content: "x", dest: "{{ x_target }}/{{ inventory_hostname }}", mode: "0600"}
- name: Registry
  hosts: "{{ llmprov_hosts.registry | default('control_plane[0]') }}"
  gather_facts: false
  tags: [registry]
  tasks:
    - name: Break when told
      ansible.builtin.fail: {msg: "no space left on /var/lib"}
      when: x_break_registry | default(false)
- name: Workers
  hosts: "{{ llmprov_hosts.worker | default('workers') }}"
  gather_facts: false
  tags: [worker]
  tasks:
    - name: Say
      ansible.builtin.debug: {msg: "{{ prepull_images | length }} images"}
"""
RESET = """
- name: Reset
  hosts: control_plane:workers
  gather_facts: false
  tags: [always]
  tasks:
    - name: Remove the file
      ansible.builtin.file: {path: "{{ x_target }}/{{ inventory_hostname }}", state: absent}
"""
HOSTS = """
all:
  vars: {ansible_connection: local, ansible_become: false, x_target: "%s", cluster_bundle_dir: "%s"}
  children:
    control_plane: {hosts: {cp1: {ansible_host: 192.0.2.1}}}
    workers: {children: {gpu_workers: {}}}
    gpu_workers: {hosts: {gpu1: {ansible_host: 192.0.2.2}}}
"""


@pytest.fixture(autouse=True)
def _content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = paths.content_root()
    content = tmp_path / "content"
    (content / "playbooks").mkdir(parents=True)
    for name in ("roles", "plugins"):
        (content / name).symlink_to(root / name)
    (content / "playbooks" / "install.yml").write_text(INSTALL, encoding="utf-8")
    (content / "playbooks" / "reset.yml").write_text(RESET, encoding="utf-8")
    monkeypatch.setattr(paths, "content_root", lambda: content)
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the playbooks put files, one a host."""
    directory = tmp_path / "target"
    directory.mkdir()
    return directory


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An empty but whole bundle."""
    directory = tmp_path / "bundle"
    (directory / "blobs" / "sha256").mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": []}), encoding="utf-8")
    BundleLock.of("registries", ()).save(directory)
    return directory


@pytest.fixture
def inventory(tmp_path: Path, target: Path, bundle: Path) -> Path:
    """A control plane and a GPU worker that are both this machine."""
    directory = tmp_path / "inventory"
    directory.mkdir()
    (directory / "hosts.yml").write_text(HOSTS % (target, bundle), encoding="utf-8")
    return directory


def _here(argv: list[str], stdin: bytes) -> RemoteResult:
    """Run on this machine what is meant for the first control plane, without sudo."""
    done = subprocess.run(argv[argv.index("python3") :], input=stdin, capture_output=True, check=False)
    return RemoteResult(done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operators' lock is taken for real, on this machine; there is no cluster."""

    def no_cluster(*_: object, **__: object) -> None:
        raise ClusterError("cp1 is no control plane yet")

    monkeypatch.setattr(lock, "over_ssh", lambda _target: _here)
    monkeypatch.setattr(lock, "HostLock", partial(HostLock, directory=str(tmp_path / "operator")))
    monkeypatch.setattr(lock, "open_cluster", no_cluster)


@pytest.fixture(autouse=True)
def _no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The playbooks here bring no registry: the push has nowhere to go. tests/lab pushes."""
    monkeypatch.setattr("llmprov.workflows.push_beside.PUSH", (sys.executable, "-c", "import sys; sys.stdin.read()"))
