"""All stations and a model on a real API server: a second install finds nothing to do, and sends nothing."""

from pathlib import Path

import pytest

from llmprov import paths
from llmprov.bundle.lock import LOCK_FILE, BundleLock
from llmprov.cluster.apply import apply_definitions
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import NODE, Header
from llmprov.inventory import ClusterSettings, Host, Inventory, ModelSpec
from llmprov.progress import NullProgress
from llmprov.ssh import SshTarget
from llmprov.workflows import models
from llmprov.workflows.model_objects import MODEL_KINDS
from llmprov.workflows.plan_objects import plan_objects
from llmprov.workflows.stations import STATIONS

STAGES = (*(station.stage for station in STATIONS), "models")
SCALED = {"replicas": {"min": 1, "max": 3}}
KINDS_OF_MODELS = {
    "CustomResourceDefinition httproutes.gateway.networking.k8s.io",
    "CustomResourceDefinition httproutefilters.gateway.envoyproxy.io",
    "CustomResourceDefinition backendtrafficpolicies.gateway.envoyproxy.io",
    "CustomResourceDefinition scaledobjects.keda.sh",
}


@pytest.fixture
def lock() -> BundleLock:
    bundle = paths.cache_dir() / "bundle"
    if not (bundle / LOCK_FILE).exists():
        pytest.skip("no bundle: make bundle")
    return BundleLock.load(bundle)


@pytest.fixture
def inventory(lock: BundleLock, tmp_path: Path) -> Inventory:
    weights = next(image.name for image in lock.images if "/models/" in str(image.ref))
    settings = {
        "name": "test",
        "first_control_plane": "cp1",
        "api_host": "127.0.0.1",
        "api_port": 6443,
        "pod_cidr": "10.244.0.0/16",
        "service_cidr": "10.96.0.0/16",
        "dns_domain": "cluster.local",
        "bundle_dir": paths.cache_dir() / "bundle",
        "registry_host": "127.0.0.1",
        "registry_port": 5000,
        "gpu_mode": "simulated",
        "simulated_gpus": 2,
        "network_backend": "host-gw",
        # Only the `upstream` catalog has these.
        "monitoring": {"grafana": False, "kube_state_metrics": False},
    }
    model = {"name": "m", "source": {"artifact": weights}, **SCALED}
    return Inventory(
        path=tmp_path,
        hosts=(_host("cp1", "control_plane"), _host("gpu1", "workers", "gpu_workers")),
        settings=ClusterSettings.model_validate(settings),
        models=(ModelSpec.model_validate(model),),
    )


def _host(name: str, *groups: str) -> Host:
    values = {"name": name, "address": "127.0.0.1", "node_address": "127.0.0.1", "groups": frozenset(groups)}
    return Host.model_validate({**values, "ssh": SshTarget(name, user="root"), "variables": {}})


def _join(cluster: Cluster) -> None:
    """Two nodes with GPUs and room."""
    for name in ("cp1", "gpu1"):
        cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}, manager="kubelet")
        counts = {"nvidia.com/gpu": "8", "memory": "512Gi", "cpu": "64", "pods": "110"}
        status = {"capacity": counts, "allocatable": counts, "conditions": [{"type": "Ready", "status": "True"}]}
        cluster.merge(NODE, name, {"status": status}, subresource="status")
        cluster.merge(NODE, name, {"spec": {"taints": None}})


def _install(cluster: Cluster, inventory: Inventory, lock: BundleLock) -> int:
    """In an install's order: models need nothing of other stations but kinds."""
    live, progress = LiveObjects.read(cluster), NullProgress()

    def apply(*, on_every_node: bool) -> int:
        stations = (station for station in STATIONS if station.on_every_node is on_every_node)
        return sum(station.changes(cluster, inventory, lock, progress, live=live) for station in stations)

    changes = apply(on_every_node=True)
    changes += models.deploy(cluster, inventory, lock, progress, live=live).changes
    return changes + apply(on_every_node=False)


def _define(cluster: Cluster, inventory: Inventory, lock: BundleLock) -> int:
    """Define kinds of models ahead of all that uses them, as an install does."""
    live = LiveObjects.read(cluster)
    sets = [item for station in STATIONS for item in station.sets(cluster, inventory, lock)]
    return sum(
        apply_definitions(cluster, item.name, item.objects, MODEL_KINDS, live=live, check=lambda: None).changes
        for item in sets
    )


def test_a_second_install_finds_nothing_to_do(
    cluster: Cluster, inventory: Inventory, lock: BundleLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _join(cluster)
    first, troubles = plan_objects(cluster, inventory, lock, STAGES, NullProgress())
    assert {item.stage for item in first} == set(STAGES)
    assert not [trouble for trouble in troubles if "Node" in trouble.what]
    ahead = _define(cluster, inventory, lock)
    # Other tests may have defined some of them in this API server.
    assert ahead == len(KINDS_OF_MODELS & {item.label for item in first}) > 0
    assert _install(cluster, inventory, lock) == len(first) - ahead > 50
    assert plan_objects(cluster, inventory, lock, STAGES, NullProgress())[0] == ()
    _install(cluster, inventory, lock)
    sent: list[str] = []
    real = cluster.apply

    def apply(target: Object, *, force: bool = False, dry_run: bool = False, manager: str = "llmprov") -> Object:
        if not dry_run:
            sent.append(Header.model_validate(target).label)
        return real(target, force=force, dry_run=dry_run, manager=manager)

    monkeypatch.setattr(cluster, "apply", apply)
    assert _install(cluster, inventory, lock) == 0
    assert sent == []
