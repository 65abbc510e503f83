"""Each rule: a fit cluster has no finding, and each fault has exactly the one that names it and its remedy."""

import pytest

from llmprov.preflight import Asked, Finding, ImageNeed, Needs, Severity
from tests.unit.preflight.conftest import GIB, PATHS, Judge, gpus, peer


def only(findings: tuple[Finding, ...]) -> Finding:
    """Return the one finding there is."""
    assert len(findings) == 1, "\n".join(finding.line for finding in findings)
    assert findings[0].remedy
    return findings[0]


def disks(**changes: object) -> list[dict[str, object]]:
    """Return one file system for everything, changed."""
    base = {"device": 1, "size": 2000 * GIB, "free": 1900 * GIB, "writable": True}
    return [{"path": path, **base, **changes} for path in PATHS]


def test_a_fit_cluster_has_no_finding(judged: Judge) -> None:
    assert judged() == ()


UBUNTU = {"os": {"id": "ubuntu", "version": "24.04", "name": "Ubuntu 24.04 LTS"}}


def test_a_release_that_the_bundle_has_no_packages_for(judged: Judge) -> None:
    needs = Needs(suites=frozenset({"bookworm", "trixie"}))
    found = only(judged(needs=needs, gpu1=UBUNTU))
    assert (found.host, found.check) == ("gpu1", "os")
    assert "runs noble; the bundle has packages for bookworm, trixie" in found.problem
    assert judged(needs=needs, gpu1=UBUNTU, group_vars="packages_install: false") == ()
    assert judged(gpu1=UBUNTU) == ()


ERRORS = [
    (
        "os",
        {"os": {"version": "11", "name": "Debian GNU/Linux 11"}},
        "runs Debian GNU/Linux 11 (debian 11), which is not",
    ),
    ("os", {"os": {"id": "fedora", "version": "42", "name": ""}}, "an unnamed system (fedora 42)"),
    ("os", {"os": {"arch": "aarch64"}}, "is aarch64"),
    ("python", {"python": "3.9.18"}, "has Python 3.9.18"),
    ("systemd", {"identity": {"init": "sh"}}, "process 1 is sh, not systemd"),
    ("systemd", {"system_state": "stopping"}, "systemd says: stopping"),
    ("kernel", {"os": {"kernel": "5.4.0-90-generic"}}, "runs kernel 5.4.0-90-generic"),
    ("kernel", {"features": {"nf_tables": "missing"}}, "has no nf_tables"),
    ("cgroups", {"cgroups": {"version": 1}}, "uses cgroup v1"),
    ("cgroups", {"cgroups": {"controllers": ["cpu", "cpuset", "pids"]}}, "lacks the cgroup controllers memory"),
    ("memory", {"memory": {"total": GIB}}, "has 1024 MiB of memory, needs 2048 MiB"),
    (
        "ports",
        {"listeners": [{"port": 10250, "pid": 7, "process": "nginx", "unit": "nginx.service"}]},
        "taken by nginx",
    ),
    ("remains", {"remains": {"processes": ["dockerd"]}}, "dockerd of somebody else runs here"),
    ("remains", {"remains": {"paths": ["/etc/cni/net.d"]}}, "remains of another installation: /etc/cni/net.d"),
    ("gpu", {"gpus": []}, "no NVIDIA GPU is on its PCI bus"),
    ("gpu", {"gpus": [{**gpus(1)[0], "device": "0x0fff"}]}, "GPU model 0x0fff is unknown; known are"),
    ("gpu", {"gpus": gpus(8, "vfio-pci")}, "GPUs are bound to vfio-pci"),
    ("names", {"names": {"api.rack": []}}, "does not resolve api.rack"),
    ("network", {"peers": [peer("cp1"), peer("gpu2", ping="no", large="no", tcp="timeout")]}, "does not reach gpu2"),
    ("network", {"peers": [peer("cp1"), peer("gpu2", source="", ping="no", tcp="x")]}, "gpu2 (10.0.0.22: no route)"),
    ("mtu", {"peers": [peer("cp1"), peer("gpu2", large="no")]}, "do not get through to gpu2 (9000 bytes)"),
    ("disk", {"disks": disks(writable=False)[:1]}, "is on a read-only file system"),
    ("disk", {"disks": disks(free=GIB)}, "too little disk: 1.0 GiB free for /var/lib/containerd, 3.0 GiB needed"),
    ("identity", {"identity": {"machine_id": ""}}, "has no machine-id"),
]


@pytest.mark.parametrize(("check", "changes", "expected"), ERRORS)
def test_errors(judged: Judge, check: str, changes: dict[str, object], expected: str) -> None:
    finding = only(judged(gpu1=changes))
    assert (finding.host, finding.check, finding.severity) == ("gpu1", check, Severity.ERROR)
    assert expected in finding.problem


WARNINGS = [
    ("firewall", {"firewalls": ["ufw"]}, "ufw is on"),
    ("gpu", {"remains": {"driver_packages": ["nvidia-driver-570"]}}, "the driver is not loaded: nvidia-driver-570"),
    ("gpu", {"gpus": gpus(8, "nouveau")}, "nouveau holds the GPU"),
    (
        "swap",
        {"memory": {"swaps": [{"name": "/dev/sda2", "kind": "partition", "size": 8, "used": 0, "visible": True}]}},
        "on",
    ),
]


@pytest.mark.parametrize(("check", "changes", "expected"), WARNINGS)
def test_warnings(judged: Judge, check: str, changes: dict[str, object], expected: str) -> None:
    finding = only(judged(gpu1=changes))
    assert (finding.host, finding.check, finding.severity) == ("gpu1", check, Severity.WARNING)
    assert expected in finding.problem


def swap(**changes: object) -> dict[str, object]:
    """Return memory with a swap area, changed."""
    area = {"name": "/swap.img", "kind": "file", "size": 8 * GIB, "used": 0, "visible": True}
    own = {key: changes.pop(key) for key in ("used", "visible") if key in changes}
    return {"memory": {"swaps": [{**area, **own}], **changes}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (swap(visible=False), "it belongs to the machine that holds this container"),
        (swap(may_swapoff=False), "root lacks CAP_SYS_ADMIN"),
        (swap(used=6 * GIB, available=5 * GIB), "it holds 6.0 GiB, and 5.0 GiB of memory are free"),
    ],
)
def test_swap_that_cannot_be_turned_off(judged: Judge, changes: dict[str, object], expected: str) -> None:
    finding = only(judged(gpu1=changes))
    assert (finding.check, finding.severity) == ("swap", Severity.ERROR)
    assert "cannot be turned off" in finding.problem
    assert expected in finding.problem
    assert judged(group_vars="base_swap_off: false", gpu1=changes) == ()


def test_cgroup_v1_with_consent(judged: Judge) -> None:
    consent = "kubernetes_kubelet_configuration: {failCgroupV1: false}"
    assert judged(group_vars=consent, gpu1={"cgroups": {"version": 1}}) == ()


def test_vxlan_only_where_it_is_used(judged: Judge) -> None:
    without = {"features": {"vxlan": "missing"}}
    assert judged(gpu1=without) == ()
    assert "has no vxlan" in only(judged(group_vars="cluster_network_backend: vxlan", gpu1=without)).problem


def test_a_small_control_plane(judged: Judge) -> None:
    assert only(judged(cp1={"cores": 1})).check == "cores"
    overlooked = "control_plane_node_registration: {ignorePreflightErrors: [NumCPU, Mem]}"
    assert judged(group_vars=overlooked, cp1={"cores": 1, "memory": {"total": GIB}}) == ()


def test_memory_of_a_replica(judged: Judge) -> None:
    model = "{name: chat, source: {artifact: a}, resources: {memory: 64Gi}}"
    finding = only(judged(model=model, gpu1={"memory": {"total": 32 * GIB}}))
    assert finding.severity is Severity.WARNING
    assert "a replica of chat asks for 64Gi" in finding.problem


def test_ports_depend_on_the_role_of_a_host(judged: Judge) -> None:
    taken = {"listeners": [{"port": port, "pid": 5, "process": "python3"} for port in (6443, 2379, 5000, 5001)]}
    assert judged(gpu1=taken) == ()
    assert [finding.check for finding in judged(cp1=taken)] == ["ports"] * 4


def test_ports_held_by_an_earlier_run_of_ours(judged: Judge) -> None:
    api = {"port": 6443, "pid": 5, "process": "kube-apiserver"}
    manager = {"port": 10257, "pid": 6, "process": "kube-controller"}
    assert judged(cp1={"listeners": [api, manager], "stages": ["base"]}) == ()
    assert len(judged(cp1={"listeners": [api, manager]})) == 2
    foreign = {"port": 6443, "pid": 5, "process": "haproxy"}
    assert "taken by haproxy (pid 5)" in only(judged(cp1={"listeners": [foreign], "stages": ["base"]})).problem


def test_what_we_installed_is_no_remains(judged: Judge) -> None:
    ours = {
        "remains": {"processes": ["containerd"], "paths": ["/etc/containerd/config.toml"]},
        "stages": ["base", "runtime"],
    }
    assert judged(gpu1=ours) == ()


def test_a_model_that_the_inventory_describes_is_known(judged: Judge) -> None:
    described = "nvidia_driver_further_models: {'0x0fff': {name: X, fabric_manager: never, minimum_driver: '550'}}"
    assert judged(group_vars=described, gpu1={"gpus": [{**gpus(1)[0], "device": "0x0fff"}]}) == ()


@pytest.mark.parametrize("refusal", ["nvidia_driver_reboot: false", "nvidia_driver_install: false"])
def test_nouveau_is_an_error_where_no_reboot_would_get_rid_of_it(judged: Judge, refusal: str) -> None:
    finding = only(judged(group_vars=refusal, gpu1={"gpus": gpus(8, "nouveau")}))
    assert (finding.check, finding.severity) == ("gpu", Severity.ERROR)


def test_gpus_are_not_needed_when_simulated(judged: Judge) -> None:
    assert judged(group_vars="cluster_gpu_mode: simulated", gpu1={"gpus": []}, gpu2={"gpus": []}) == ()
    finding = only(judged(group_vars="cluster_gpu_mode: simulated", gpu2={"gpus": []}))
    assert (finding.host, finding.severity) == ("gpu1", Severity.WARNING)


def test_gpus_of_a_host_that_is_no_gpu_worker(judged: Judge) -> None:
    finding = only(judged(cp1={"gpus": gpus(1)}))
    assert (finding.host, finding.severity) == ("cp1", Severity.WARNING)


def test_a_replica_larger_than_any_host(judged: Judge) -> None:
    model = "{name: chat, source: {artifact: a}, resources: {gpus: 16}}"
    finding = only(judged(model=model))
    assert "a replica of model chat needs 16 GPUs; the largest host has 8" in finding.problem


def test_room_is_added_up_per_file_system(judged: Judge) -> None:
    needs = Needs(bundle=10 * GIB)
    finding = only(judged(needs=needs, cp1={"disks": disks(free=12 * GIB)}))
    assert "15.0 GiB needed" in finding.problem
    assert "the registry 10.0 GiB" in finding.problem
    separate = [{**disk, "device": number} for number, disk in enumerate(disks(free=12 * GIB))]
    assert judged(needs=needs, cp1={"disks": separate}) == ()
    assert judged(needs=needs, cp1={"disks": disks(free=12 * GIB), "stages": ["base"]}) == ()


def test_a_model_larger_than_the_disk(judged: Judge) -> None:
    needs = Needs(models=(ImageNeed("chat", 140 * GIB, unpacked=1.0),))
    small = {"disks": disks(size=200 * GIB, free=190 * GIB), "stages": ["base"]}
    finding = only(judged(needs=needs, gpu1=small))
    assert "model chat needs 280.0 GiB to pull; the disk of /var/lib/containerd has 200.0 GiB" in finding.problem


@pytest.mark.parametrize("key", ["hostname", "machine_id", "product_uuid"])
def test_clones(judged: Judge, key: str) -> None:
    same = {"identity": {key: "4c4c4544-1111"}}
    finding = only(judged(gpu1=same, gpu2=same))
    assert (finding.host, finding.check) == ("gpu1, gpu2", "identity")
    assert "4c4c4544-1111" in finding.problem


def test_containers_share_the_product_uuid_of_their_machine(judged: Judge) -> None:
    same = {"identity": {"product_uuid": "4c4c4544-1111", "container": "systemd-nspawn"}}
    assert judged(gpu1=same, gpu2=same) == ()


@pytest.mark.parametrize(
    ("asked", "severity", "expected"),
    [
        (Asked(1000.0, 1002.0), None, ""),
        (Asked(1000.0, 998.0), Severity.WARNING, "at least 3 s ahead of"),
        (Asked(1000.0, 900.0), Severity.ERROR, "at least 101 s ahead of"),
        (Asked(1100.0, 1102.0), Severity.ERROR, "at least 100 s behind"),
    ],
)
def test_clocks(judged: Judge, asked: Asked, severity: Severity | None, expected: str) -> None:
    findings = judged(asked={"gpu1": asked})
    if severity is None:
        assert findings == ()
        return
    finding = only(findings)
    assert (finding.check, finding.severity) == ("time", severity)
    assert expected in finding.problem
    assert "chronyd runs" in finding.remedy


def test_mtus_that_differ(judged: Judge) -> None:
    finding = only(judged(gpu1={"peers": [peer("cp1", mtu=1500), peer("gpu2", mtu=1500)]}))
    assert "1500: gpu1; 9000: cp1, gpu2" in finding.problem


def test_an_mtu_too_small_for_vxlan(judged: Judge) -> None:
    narrow = {
        name: {"peers": [peer(other, mtu=1300) for other in ("cp1", "gpu1", "gpu2") if other != name]}
        for name in ("cp1", "gpu1", "gpu2")
    }
    assert judged(**narrow) == ()
    assert "1300 is too small" in only(judged(group_vars="cluster_network_backend: vxlan", **narrow)).problem


def test_a_peer_that_drops_icmp_but_answers_tcp_is_reached(judged: Judge) -> None:
    assert judged(gpu1={"peers": [peer("cp1", ping="no", large="no", tcp="refused"), peer("gpu2")]}) == ()
