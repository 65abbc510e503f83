"""Role nvidia_driver itself refuses a bundle whose driver is not of one piece, before it changes anything."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llmprov.paths import content_root

VERSION = "580.159.04"
PLAYBOOK = """
- hosts: gpu_workers
  gather_facts: false
  tasks:
    - host_probe:
    - ansible.builtin.import_role: {name: nvidia_driver}
"""
INVENTORY = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: %s}
  children: {control_plane: {hosts: {gpu1: {}}}, gpu_workers: {hosts: {gpu1: {}}}}
"""


def bundle_of(directory: Path, packages: dict[str, str]) -> Path:
    """Write the lock file of a bundle with these packages of NVIDIA's for this machine's release."""
    suite = f"{platform.freedesktop_os_release().get('VERSION_CODENAME', 'unknown')}-nvidia"
    common = {"kind": "deb", "source": "test", "sha256": "0" * 64, "size": 1, "licence": "x", "suite": suite}
    artifacts = [
        {**common, "name": f"{suite}/{name}", "package": name, "version": version} for name, version in packages.items()
    ]
    (directory / "bundle.lock.json").write_text(
        json.dumps({"schema": 1, "catalog": "test", "created": "2026-01-01T00:00:00Z", "artifacts": artifacts})
    )
    return directory


def run_role(directory: Path, bundle: Path) -> subprocess.CompletedProcess[str]:
    (directory / "play.yml").write_text(PLAYBOOK)
    (directory / "hosts.yml").write_text(INVENTORY % sys.executable)
    variables: dict[str, object] = {
        "cluster_gpu_mode": "simulated",
        "cluster_bundle_dir": str(bundle),
        "nvidia_driver_version": VERSION,
    }
    return ansible(directory, variables, "--check")


def ansible(directory: Path, variables: dict[str, object], *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [*options, "--inventory", "hosts.yml", "--extra-vars", json.dumps(variables), "play.yml"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(content_root() / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("packages", "says"),
    [
        ({"libcuda1": "570.10-1", "nvidia-fabricmanager": "570.10-1"}, f"driver {VERSION} is not in the bundle"),
        (
            {"libcuda1": f"{VERSION}-1", "nvidia-fabricmanager": "580.126.09-1"},
            "it has nvidia-fabricmanager 580.126.09",
        ),
    ],
    ids=["version not in the bundle", "fabric manager of another version"],
)
def test_a_driver_that_is_not_of_one_piece_is_refused(tmp_path: Path, packages: dict[str, str], says: str) -> None:
    done = run_role(tmp_path, bundle_of(tmp_path, packages))
    told = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert says in told
    assert "build the bundle again" in told
    assert "changed=0" in told


def test_the_spec_of_simulated_gpus_is_json(tmp_path: Path) -> None:
    template = (
        "- hosts: gpu_workers\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.include_vars: {file: %s}\n"
        "    - ansible.builtin.copy:\n"
        '        content: "{{ __nvidia_container_toolkit_simulation[0].content }}"\n'
        "        dest: %s\n        mode: '0600'\n"
    )
    variables = content_root() / "roles" / "nvidia_container_toolkit" / "vars" / "main.yml"
    (tmp_path / "play.yml").write_text(template % (variables, tmp_path / "spec.json"))
    (tmp_path / "hosts.yml").write_text(INVENTORY % sys.executable)
    done = ansible(tmp_path, {"cluster_gpu_mode": "simulated", "cluster_simulated_gpus": 2})
    assert done.returncode == 0, done.stdout + done.stderr
    spec = json.loads((tmp_path / "spec.json").read_text())
    assert [device["name"] for device in spec["devices"]] == ["0", "1", "all"]


def test_the_role_wants_what_the_upstream_catalog_has() -> None:
    defaults = yaml.safe_load((content_root() / "roles/nvidia_driver/defaults/main.yml").read_text(encoding="utf-8"))
    catalog = content_root() / "llmprov/bundle/catalogs/upstream.yml"
    versions = yaml.safe_load(catalog.read_text(encoding="utf-8"))["versions"]
    assert defaults["nvidia_driver_version"] == versions["nvidia_driver"] == VERSION
