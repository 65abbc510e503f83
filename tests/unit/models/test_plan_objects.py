"""What an install would do in Kubernetes, found out on an API in memory."""

import copy
from collections.abc import Callable

import pytest

from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.cluster.client import Cluster
from llmprov.cluster.live import LiveObjects
from llmprov.inventory import Inventory
from llmprov.manifests import device_plugin, network
from llmprov.manifests.model import NAMESPACE
from llmprov.plans import FieldChange, ObjectAction, ObjectPlan, Trouble
from llmprov.progress import NullProgress
from llmprov.workflows import models
from llmprov.workflows.plan_objects import plan_objects
from llmprov.workflows.stations import stations_of
from tests.unit.cluster.fakeapi import KINDS, FakeApi
from tests.unit.models.conftest import MODEL
from tests.unit.models.gateway_server import GATEWAY_KINDS
from tests.unit.models.test_serving import finish, put_node

STAGES = ("network", "gpu", "models")
READY = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
EVERYWHERE = {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}


@pytest.fixture
def whole(lock: BundleLock) -> BundleLock:
    image = LockedArtifact(
        kind="image",
        name=device_plugin.SIMULATOR,
        version="1",
        source="s",
        sha256="cd" * 32,
        size=1,
        licence="MIT",
        ref="example.org/simulator:1",
    )
    return BundleLock.of("test", [*lock.artifacts, image])


@pytest.fixture
def nodes(api: FakeApi) -> None:
    put_node(api, "cp1", gpus=0)
    put_node(api, "gpu1", gpus=2)


def install(cluster: Cluster, inventory: Inventory, lock: BundleLock) -> int:
    """Do what a plan says."""
    live = LiveObjects.read(cluster)
    progress = NullProgress()
    stations = stations_of(STAGES)
    changes = sum(station.changes(cluster, inventory, lock, progress, live=live) for station in stations)
    return changes + models.deploy(cluster, inventory, lock, progress, live=live).changes


def plans(cluster: Cluster, inventory: Inventory, lock: BundleLock) -> tuple[ObjectPlan, ...]:
    return plan_objects(cluster, inventory, lock, STAGES, NullProgress())[0]


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("replicas", [{"min": 1, "max": 1}, {"min": 1, "max": 3}])
def test_after_an_install_nothing_is_to_be_done_and_nothing_is_sent(
    cluster: Cluster,
    api: FakeApi,
    make_inventory: Callable[..., Inventory],
    whole: BundleLock,
    replicas: dict[str, int],
) -> None:
    inventory = make_inventory({**MODEL, "replicas": replicas})
    found = plans(cluster, inventory, whole)
    assert {item.action for item in found} == {ObjectAction.CREATE, ObjectAction.UPDATE}
    assert [item.label for item in found if item.action is ObjectAction.UPDATE] == ["Node gpu1"]
    assert list(dict.fromkeys(item.stage for item in found)) == list(STAGES)
    assert install(cluster, inventory, whole) >= len(found)
    assert plans(cluster, inventory, whole) == ()
    api.requests.clear()
    assert install(cluster, inventory, whole) == 0
    changing = [line for line in api.requests if not line.startswith("GET") and "dryRun=All" not in line]
    assert changing == []


@pytest.mark.usefixtures("nodes")
def test_a_plan_changes_nothing(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], whole: BundleLock
) -> None:
    install(cluster, make_inventory(), whole)
    before = copy.deepcopy(api.objects)
    changed = make_inventory({**MODEL, "engine": {"args": ["--seed", "1"]}}, {**MODEL, "name": "n"}, gpu_mode="real")
    assert {item.label for item in plans(cluster, changed.model_copy(update={"hosts": ()}), whole)} >= {
        f"Deployment {NAMESPACE}/m",
        f"Deployment {NAMESPACE}/n",
    }
    assert api.objects == before


@pytest.mark.usefixtures("nodes")
def test_a_model_without_room_is_planned_all_the_same(
    cluster: Cluster, make_inventory: Callable[..., Inventory], whole: BundleLock
) -> None:
    inventory = make_inventory({**MODEL, "resources": {"gpus": 64}})
    labels = [item.label for item in plans(cluster, inventory, whole)]
    assert f"Deployment {NAMESPACE}/m" in labels


@pytest.mark.usefixtures("nodes")
def test_a_node_is_labelled_anew(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], whole: BundleLock
) -> None:
    inventory = make_inventory()
    install(cluster, inventory, whole)
    put_node(api, "gpu1", gpus=2)
    change = FieldChange(f"metadata.labels.{device_plugin.GPU_MODE_LABEL}", None, "simulated")
    assert plans(cluster, inventory, whole) == (ObjectPlan("gpu", ObjectAction.UPDATE, "Node gpu1", (change,)),)


def test_nodes_and_workloads_that_do_not_work_are_troubles(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], whole: BundleLock
) -> None:
    put_node(api, "gpu1", gpus=2)
    inventory = make_inventory()
    install(cluster, inventory, whole)
    for name, where in ((network.NAME, network.NAMESPACE), (device_plugin.SIMULATOR, device_plugin.NAMESPACE)):
        finish(api, "DaemonSet", where, name, EVERYWHERE)
    finish(api, "Deployment", NAMESPACE, "m", READY)
    missing = Trouble("kubernetes", "Node cp1 is not in the cluster")
    assert plan_objects(cluster, inventory, whole, STAGES, NullProgress()) == ((), (missing,))
    down = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "no word from it"}
    for name in ("cp1", "gpu1"):
        put_node(api, name, gpus=2)
    node = api.objects["v1/nodes", "", "cp1"]
    api.put({**node, "status": {**node["status"], "conditions": [down]}})
    finish(api, "Deployment", NAMESPACE, "m", {**READY, "availableReplicas": 0})
    finish(api, "DaemonSet", network.NAMESPACE, network.NAME, {**EVERYWHERE, "numberAvailable": 1})
    _, troubles = plan_objects(cluster, inventory, whole, STAGES, NullProgress())
    assert troubles == (
        Trouble("kubernetes", "Node cp1 is not Ready: NodeStatusUnknown: no word from it"),
        Trouble("models", f"Deployment {NAMESPACE}/m: 0 of 1 replicas are available and up to date"),
        Trouble(
            "network",
            f"DaemonSet {network.NAMESPACE}/{network.NAME}: 1 of 2 replicas are available and up to date",
        ),
    )


@pytest.mark.usefixtures("nodes")
def test_models_get_objects_for_what_comes_in_the_same_run(
    cluster: Cluster, make_inventory: Callable[..., Inventory], whole: BundleLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group in ("gateway.networking.k8s.io/v1", "keda.sh/v1alpha1", *GATEWAY_KINDS):
        monkeypatch.delitem(KINDS, group, raising=False)
    inventory = make_inventory({**MODEL, "replicas": {"min": 1, "max": 3}})

    def kinds(*stages: str) -> set[str]:
        (found,) = models.sets(cluster, inventory, whole, stages)
        return {str(item["kind"]) for item in found.objects}

    assert not kinds() & {"HTTPRoute", "ScaledObject"}
    assert kinds("gateway", "autoscaling") >= {"HTTPRoute", "ScaledObject"}


@pytest.mark.usefixtures("nodes")
def test_a_model_that_goes_is_pruned_and_not_listed_any_more(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], whole: BundleLock
) -> None:
    install(cluster, make_inventory(MODEL, {**MODEL, "name": "gone"}), whole)
    left = make_inventory(MODEL)
    pruned = [item.label for item in plans(cluster, left, whole) if item.action is ObjectAction.PRUNE]
    assert f"Deployment {NAMESPACE}/gone" in pruned
    install(cluster, left, whole)
    assert "gone" not in str(api.objects)
    assert plans(cluster, left, whole) == ()
