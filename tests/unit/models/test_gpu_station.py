"""The station gpu against an API in memory: labels, the plugin of the mode, and waiting for the GPUs."""

from collections.abc import Callable

import pytest

from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import DAEMONSET, NODE, Node
from llmprov.errors import BundleError, ClusterError
from llmprov.inventory import Inventory
from llmprov.manifests.device_plugin import DCGM_EXPORTER, DEVICE_PLUGIN, GPU_MODE_LABEL, NAMESPACE, SIMULATOR
from llmprov.progress import NullProgress
from llmprov.workflows import gpu
from tests.unit.cluster.fakeapi import FakeApi

type Make = Callable[..., Inventory]


def node(api: FakeApi, name: str, *, capacity: int, allocatable: int) -> None:
    counts = {"nvidia.com/gpu": str(capacity)}, {"nvidia.com/gpu": str(allocatable)}
    status = {"capacity": counts[0], "allocatable": counts[1]} if capacity else {}
    api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": status})


def up(api: FakeApi, *names: str) -> None:
    """Make DaemonSets run everywhere."""
    status = {"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1}
    for name in names:
        metadata = {"name": name, "namespace": NAMESPACE, "generation": 1}
        api.put({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": {}, "status": status})


@pytest.fixture
def bundle() -> BundleLock:
    def image(name: str) -> LockedArtifact:
        values = {"kind": "image", "name": name, "version": "1", "source": "test", "sha256": "0" * 64, "size": 1}
        return LockedArtifact.model_validate({**values, "licence": "x", "ref": f"example.org/{name}:1"})

    artifacts = tuple(image(name) for name in (SIMULATOR, DEVICE_PLUGIN, DCGM_EXPORTER))
    return BundleLock.model_validate({"catalog": "test", "created": "2026-01-01T00:00:00Z", "artifacts": artifacts})


@pytest.mark.parametrize(("mode", "there"), [("simulated", [SIMULATOR]), ("real", [DEVICE_PLUGIN, DCGM_EXPORTER])])
def test_the_plugin_of_the_mode_is_applied_once(
    cluster: Cluster, api: FakeApi, make_inventory: Make, bundle: BundleLock, mode: str, there: list[str]
) -> None:
    inventory = make_inventory(gpu_mode=mode)
    node(api, "gpu1", capacity=0, allocatable=0)
    assert gpu.images(inventory, bundle) == tuple(there)
    assert gpu.apply(cluster, inventory, bundle, NullProgress()) > len(there)
    assert gpu.apply(cluster, inventory, bundle, NullProgress()) == 0
    assert all(cluster.get(DAEMONSET, name, NAMESPACE) for name in there)
    found = cluster.get(NODE, "gpu1")
    assert found is not None
    assert Node.model_validate(found).metadata.labels[GPU_MODE_LABEL] == mode


def test_a_bundle_without_the_plugin_is_named(
    cluster: Cluster, api: FakeApi, make_inventory: Make, bundle: BundleLock
) -> None:
    node(api, "gpu1", capacity=0, allocatable=0)
    empty = bundle.model_copy(update={"artifacts": ()})
    with pytest.raises(BundleError, match=SIMULATOR):
        gpu.apply(cluster, make_inventory(), empty, NullProgress())


@pytest.mark.parametrize(
    ("capacity", "allocatable", "says"),
    [
        (0, 0, "gpu1: 0 GPUs are counted, 2 should be"),
        (1, 1, "gpu1: 1 GPUs are counted, 2 should be"),
        (2, 1, "gpu1: 1 of 2 GPUs are unhealthy"),
    ],
)
def test_gpus_that_lack_are_named(
    cluster: Cluster,
    api: FakeApi,
    make_inventory: Make,
    monkeypatch: pytest.MonkeyPatch,
    capacity: int,
    allocatable: int,
    says: str,
) -> None:
    monkeypatch.setattr(gpu, "_DEVICE_SECONDS", 0.1)
    up(api, SIMULATOR)
    node(api, "gpu1", capacity=capacity, allocatable=allocatable)
    with pytest.raises(ClusterError, match="1 of 1 nodes lack GPUs") as raised:
        gpu.wait(cluster, make_inventory(), NullProgress())
    assert raised.value.details == (says,)


def test_a_node_that_is_not_there_is_named(
    cluster: Cluster, api: FakeApi, make_inventory: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_DEVICE_SECONDS", 0.1)
    up(api, SIMULATOR)
    with pytest.raises(ClusterError) as raised:
        gpu.wait(cluster, make_inventory(), NullProgress())
    assert raised.value.details == ("gpu1: is not in the cluster",)


def test_a_plugin_that_crashes_is_not_waited_for(cluster: Cluster, api: FakeApi, make_inventory: Make) -> None:
    status = {"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1}
    metadata = {"name": SIMULATOR, "namespace": NAMESPACE, "generation": 1}
    api.put({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": {}, "status": status})
    labels = {"app.kubernetes.io/name": SIMULATOR}
    state = {"name": SIMULATOR, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    pod = {"name": "p", "namespace": NAMESPACE, "labels": labels}
    spec = {"nodeName": "gpu1", "containers": [{"name": SIMULATOR}]}
    api.put(
        {"apiVersion": "v1", "kind": "Pod", "metadata": pod, "spec": spec, "status": {"containerStatuses": [state]}}
    )
    api.logs["p/true"] = "nvidia.json is no CDI spec in JSON\n"
    node(api, "gpu1", capacity=0, allocatable=0)
    with pytest.raises(ClusterError) as raised:
        gpu.wait(cluster, make_inventory(), NullProgress())
    assert raised.value.details == ("nvidia.json is no CDI spec in JSON",)


@pytest.mark.parametrize("mode", ["simulated", "real"])
def test_gpus_that_are_there_are_not_waited_for(
    cluster: Cluster, api: FakeApi, make_inventory: Make, mode: str
) -> None:
    up(api, SIMULATOR, DEVICE_PLUGIN, DCGM_EXPORTER)
    node(api, "gpu1", capacity=2, allocatable=2)
    gpu.wait(cluster, make_inventory(gpu_mode=mode), NullProgress())


def test_a_host_may_have_its_own_number(make_inventory: Make) -> None:
    inventory = make_inventory()
    (host,) = inventory.gpu_workers
    own = host.model_copy(update={"variables": {"cluster_simulated_gpus": 5}})
    assert (gpu.simulated_gpus(host, inventory), gpu.simulated_gpus(own, inventory)) == (2, 5)
