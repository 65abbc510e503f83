"""Roles runtime and packages: containerd works, pulls from the cluster's registry only, and keeps no packed layers."""

import json
import tomllib
from pathlib import Path

from testinfra.host import Host

from llmprov.bundle.lock import BundleLock
from llmprov.paths import cache_dir

LOCK = BundleLock.load(Path(cache_dir()) / "bundle")
CTR = "/usr/local/bin/ctr --namespace k8s.io"
CRICTL = "/usr/local/bin/crictl"


def test_containerd_runs_and_starts_at_boot(node: Host) -> None:
    service = node.service("containerd.service")
    assert service.is_running
    assert service.is_enabled
    assert f"v{LOCK.file('containerd').version}" in node.check_output("/usr/local/bin/ctr version")


def test_containerd_takes_the_configuration_as_it_is(node: Host) -> None:
    written = tomllib.loads(node.file("/etc/containerd/config.toml").content_string)
    effective = tomllib.loads(node.check_output("/usr/local/bin/containerd config dump"))
    assert written["version"] == 4
    images = "io.containerd.cri.v1.images"
    for key in ("discard_unpacked_layers", "pinned_images", "max_concurrent_downloads"):
        assert effective["plugins"][images][key] == written["plugins"][images][key]
    cri = node.check_output("/usr/local/bin/ctr plugins list")
    states = [line.split()[-1] for line in cri.splitlines() if "io.containerd.grpc.v1" in line and " cri " in line]
    assert states == ["ok"]


def test_cgroup_driver_fits_the_kernel(node: Host) -> None:
    effective = tomllib.loads(node.check_output("/usr/local/bin/containerd config dump"))
    runc = effective["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]["runc"]
    unified = node.file("/sys/fs/cgroup/cgroup.controllers").exists
    assert runc["options"]["SystemdCgroup"] is unified


def test_a_pull_goes_to_the_clusters_registry(node: Host) -> None:
    pause = LOCK.image("pause")
    node.check_output(f"{CRICTL} pull {pause.ref}")
    assert pause.digest in node.check_output(f"{CTR} images list")


def test_crictl_asks_the_runtime_without_being_told_where_it_is(node: Host) -> None:
    conditions = json.loads(node.check_output(f"{CRICTL} info"))["status"]["conditions"]
    assert {"type": "RuntimeReady", "status": True}.items() <= conditions[0].items()
    assert LOCK.file("crictl").version in node.check_output(f"{CRICTL} --version")


def test_a_container_runs(node: Host) -> None:
    pause = LOCK.image("pause")
    node.check_output(f"{CRICTL} pull {pause.ref}")
    node.check_output(f"{CTR} run --detach --snapshotter overlayfs {pause.ref} probe")
    try:
        assert "RUNNING" in node.check_output(f"{CTR} tasks list")
    finally:
        node.check_output(f"{CTR} tasks kill --signal SIGKILL probe")
        node.check_output(f"{CTR} tasks delete probe")
        node.check_output(f"{CTR} containers delete probe")


def test_packages_are_installed_and_held(node: Host) -> None:
    held = set(node.check_output("apt-mark showhold").split())
    installed = set(json.loads(node.file("/var/lib/llmprov/packages.json").content_string))
    assert {"conntrack", "nftables"} <= installed
    assert "chrony" not in installed  # somebody else keeps a lab host's clock
    assert installed <= held


def test_nothing_wants_the_internet(node: Host) -> None:
    for path in node.check_output("find /etc/containerd/certs.d -name hosts.toml").split():
        hosts = tomllib.loads(node.file(path).content_string)
        assert hosts["server"].startswith("http://10.77.33.11:5000/v2/")
        assert "host" not in hosts
