"""References, deployment, status and chat, on an API in memory."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.errors import BundleError, ClusterError, ExitCode, ModelError
from llmprov.inventory import Inventory
from llmprov.manifests.model import NAMESPACE
from llmprov.progress import NullProgress
from llmprov.states import HostState, Status
from llmprov.workflows import cluster as clusters
from llmprov.workflows import models, network
from llmprov.workflows.chat import Question, ask_cluster
from llmprov.workflows.references import model_images
from llmprov.workflows.status import finished_stages, model_states
from tests.unit.bundle.servers import Registry
from tests.unit.cluster.fakeapi import FakeApi
from tests.unit.models.conftest import MODEL

ENGINE = "docker.io/vllm/vllm-openai@sha256:" + "76" * 32
WEIGHTS = "llmprov.internal/models/tiny@sha256:" + "74" * 32
OTHER = "llmprov.internal/models/other"


def with_image(reference: str, **more: object) -> dict[str, object]:
    return {"name": "m", "source": {"image": reference}, **more}


def test_images_of_the_bundle_are_pinned(make_inventory: Callable[..., Inventory], lock: BundleLock) -> None:
    (found,) = model_images(make_inventory(), lock)
    assert (found.engine, found.weights) == (ENGINE, WEIGHTS)
    by_reference = with_image("llmprov.internal/models/tiny:1", engine={"image": "docker.io/vllm/vllm-openai:v1"})
    (found,) = model_images(make_inventory(by_reference), lock)
    assert (found.engine, found.weights) == (ENGINE, WEIGHTS)


def test_a_digest_needs_nobody(make_inventory: Callable[..., Inventory], lock: BundleLock) -> None:
    digest = f"{OTHER}@sha256:{'a' * 64}"
    (found,) = model_images(make_inventory(with_image(digest)), lock)
    assert found.weights == digest


def test_a_tag_is_asked_of_the_registry(
    make_inventory: Callable[..., Inventory], lock: BundleLock, registry: Registry
) -> None:
    digest = registry.add_image(OTHER, "v2", [b"layer"])
    inventory = make_inventory(with_image(f"{OTHER}:v2"), push_port=int(registry.url.rpartition(":")[2]))
    (found,) = model_images(inventory, lock)
    assert found.weights == f"{OTHER}@{digest}"
    missing = make_inventory(with_image(f"{OTHER}:v3"), push_port=int(registry.url.rpartition(":")[2]))
    with pytest.raises(ModelError, match="neither the bundle nor") as caught:
        model_images(missing, lock)
    assert "llmprov model push" in caught.value.remedy


def test_an_artifact_that_is_not_in_the_bundle(make_inventory: Callable[..., Inventory], lock: BundleLock) -> None:
    with pytest.raises(BundleError, match="did you mean 'tiny'"):
        model_images(make_inventory({"name": "m", "source": {"artifact": "tinny"}}), lock)
    with pytest.raises(BundleError, match="no image 'vlm'"):
        model_images(make_inventory({**MODEL, "engine": {"image": "vlm"}}), lock)


def put_node(api: FakeApi, name: str, gpus: int = 0) -> None:
    resources = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    ready = [{"type": "Ready", "status": "True"}]
    status = {"conditions": ready, "capacity": resources, "allocatable": resources}
    api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status})


def finish(api: FakeApi, kind: str, namespace: str, name: str, status: dict[str, int]) -> None:
    plural = {"Deployment": "deployments", "DaemonSet": "daemonsets"}[kind]
    item = api.objects[f"apps/v1/{plural}", namespace, name]
    api.put({**item, "status": {"observedGeneration": 1, **status}})


def test_deploy_then_wait(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], lock: BundleLock
) -> None:
    put_node(api, "gpu1", gpus=2)
    inventory = make_inventory()
    applied = models.deploy(cluster, inventory, lock, NullProgress()).applied
    assert f"Deployment {NAMESPACE}/m" in applied.created
    assert models.deploy(cluster, inventory, lock, NullProgress()).changes == 0
    finish(api, "Deployment", NAMESPACE, "m", {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1})
    (ready,) = models.wait_ready(cluster, inventory, NullProgress())
    assert ready.endpoint == "http://m.llmprov-models.svc.cluster.local:8000/v1"


def put_replica(api: FakeApi, name: str, condition: dict[str, str]) -> None:
    meta = {"name": name, "namespace": NAMESPACE, "labels": {"llmprov.io/model": "m"}}
    spec = {"containers": [{"name": "vllm"}]}
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {"conditions": [condition]}})


def test_without_some_nodes_a_model_that_answers_is_enough(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], lock: BundleLock
) -> None:
    notes: list[str] = []

    class Noting(NullProgress):
        def note(self, message: str) -> None:
            notes.append(message)

    put_node(api, "gpu1", gpus=2)
    inventory = make_inventory({**MODEL, "replicas": 2})
    models.deploy(cluster, inventory, lock, NullProgress())
    finish(api, "Deployment", NAMESPACE, "m", {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1})
    since = "2026-01-01T00:00:00Z"
    full = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/1 nodes are available",
        "lastTransitionTime": since,
    }
    put_replica(api, "m-2", full)
    with pytest.raises(ClusterError, match="no node can take it"):
        models.wait_ready(cluster, inventory, Noting(), short_of_nodes=True)
    put_replica(api, "m-1", {"type": "Ready", "status": "True"})
    with pytest.raises(ClusterError, match="no node can take it"):
        models.wait_ready(cluster, inventory, Noting())
    assert notes == []
    (ready,) = models.wait_ready(cluster, inventory, Noting(), short_of_nodes=True)
    assert (ready.name, ready.replicas) == ("m", ())
    assert "m-2: no node can take it" in notes[0]


def test_a_model_that_left_the_inventory_is_removed(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], lock: BundleLock
) -> None:
    put_node(api, "gpu1", gpus=2)
    models.deploy(cluster, make_inventory(MODEL, {**MODEL, "name": "n"}), lock, NullProgress())
    applied = models.deploy(cluster, make_inventory(MODEL), lock, NullProgress()).applied
    assert f"Deployment {NAMESPACE}/n" in applied.pruned
    assert not any("/m" in line for line in applied.pruned)


def test_nodes_are_waited_for_as_long_as_the_inventory_says(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory]
) -> None:
    put_node(api, "cp1")
    inventory = make_inventory()
    hosts = [
        host.model_copy(update={"variables": {**host.variables, "kubernetes_ready_timeout": 0}})
        for host in inventory.hosts
    ]
    patient = inventory.model_copy(update={"hosts": tuple(hosts)})
    with pytest.raises(ClusterError, match="1 of 2 nodes are not Ready after 0 s"):
        clusters.wait_nodes(cluster, patient, NullProgress())


def test_nodes_and_the_pod_network(
    cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory], lock: BundleLock
) -> None:
    inventory = make_inventory()
    for name in ("cp1", "gpu1"):
        put_node(api, name)
    clusters.wait_nodes(cluster, inventory, NullProgress())
    assert network.apply(cluster, inventory, lock, NullProgress()) > 0
    numbers = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}
    finish(api, "DaemonSet", "kube-flannel", "kube-flannel-ds", numbers)
    network.wait(cluster, inventory, NullProgress())
    assert network.apply(cluster, inventory, lock, NullProgress()) == 0


def test_sudo_password_of_a_control_plane(make_inventory: Callable[..., Inventory]) -> None:
    (plane,) = clusters._planes(make_inventory())
    assert plane.sudo_password is not None
    assert plane.sudo_password() == "s3cret"
    assert "s3cret" not in repr(plane)


def put_model(api: FakeApi, ready: int = 1, name: str = "m", served: str = "org/M") -> None:
    meta: dict[str, Any] = {"name": name, "namespace": NAMESPACE, "labels": {"llmprov.io/model": name}}
    meta["annotations"] = {"llmprov.io/served-name": served}
    status = {"readyReplicas": ready}
    spec = {"replicas": 1}
    api.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec, "status": status})


def event(**document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def piece(text: str, finish: str | None = None) -> bytes:
    return event(choices=[{"delta": {"content": text}, "finish_reason": finish}])


def test_chat_streams_and_counts(cluster: Cluster, api: FakeApi) -> None:
    put_model(api)
    asked: list[dict[str, Any]] = []

    def engine(body: dict[str, Any]) -> tuple[int, list[bytes]]:
        asked.append(body)
        usage = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2})
        whole = piece("Par") + piece("is", "stop") + usage + b"data: [DONE]\n\n"
        return 200, [whole[:30], whole[30:31], whole[31:]]

    api.proxied = engine
    pieces: list[str] = []
    answer = ask_cluster(cluster, Question("m", "capital?", system="brief"), pieces.append)
    assert pieces == ["Par", "is"]
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("Paris", 9, 2)
    assert answer.finish_reason == "stop"
    assert asked[0]["model"] == "org/M"
    assert [message["role"] for message in asked[0]["messages"]] == ["system", "user"]
    assert ask_cluster(cluster, Question("org/M", "again"), lambda _: None).text == "Paris"


def test_chat_with_a_model_that_is_not_there(cluster: Cluster, api: FakeApi) -> None:
    put_model(api, name="smollm2")
    with pytest.raises(ModelError, match="did you mean 'smollm2'") as caught:
        ask_cluster(cluster, Question("smollm", "hi"), lambda _: None)
    assert caught.value.exit_code is ExitCode.MODEL


def test_chat_with_a_model_that_is_not_ready(cluster: Cluster, api: FakeApi) -> None:
    put_model(api, ready=0)
    with pytest.raises(ModelError, match="no ready replica"):
        ask_cluster(cluster, Question("m", "hi"), lambda _: None)


@pytest.mark.parametrize(
    ("status", "pieces", "words"),
    [
        (400, [b'{"error": {"message": "max_tokens is too large"}}'], "HTTP 400.*max_tokens is too large"),
        (500, [b"Internal Server Error"], "HTTP 500.*Internal Server Error"),
        (200, [event(error={"message": "engine died"})], "engine died"),
        (200, [b"data: <html>\n\n"], "is not one"),
    ],
)
def test_chat_that_is_refused(cluster: Cluster, api: FakeApi, status: int, pieces: list[bytes], words: str) -> None:
    put_model(api)
    api.proxied = lambda _: (status, pieces)
    with pytest.raises(ModelError, match=words):
        ask_cluster(cluster, Question("m", "hi"), lambda _: None)


def test_status_of_models(cluster: Cluster, api: FakeApi, make_inventory: Callable[..., Inventory]) -> None:
    put_model(api, ready=0)
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "m-1", "namespace": NAMESPACE, "labels": {"llmprov.io/model": "m"}},
        "spec": {"nodeName": "gpu1", "containers": [{"name": "vllm", "image": ENGINE}]},
        "status": {"containerStatuses": [{"name": "vllm", "restartCount": 2, "state": waiting}]},
    }
    api.put(pod)
    refused = {"phase": "Failed", "reason": "UnexpectedAdmissionError"}
    api.put({**pod, "metadata": {**pod["metadata"], "name": "m-0"}, "status": refused})
    deployed, missing = model_states(cluster, make_inventory(MODEL, {**MODEL, "name": "n"}))
    assert (deployed.ready, deployed.wanted, deployed.healthy) == (0, 1, False)
    (replica,) = deployed.replicas
    assert "crashed" in replica
    assert deployed.image == ENGINE
    assert missing.replicas == ("not deployed",)


def test_stages_in_the_order_in_which_they_finished() -> None:
    assert finished_stages("") == ()
    assert finished_stages("1764100002.5000000000 runtime.json\n1764100001.2500000000 base.json\n") == (
        "base",
        "runtime",
    )
    with pytest.raises(ValueError, match="find"):
        finished_stages("find: something else\n")


def test_exit_code_of_a_status() -> None:
    up = HostState("a", "1", reachable=True)
    down = HostState("b", "2", reachable=False)
    assert Status("c", "v1", (up,), (), ()).exit_code is ExitCode.OK
    assert Status("c", "v1", (up, down), (), ()).exit_code is ExitCode.CONNECTION
    assert Status("c", "", (up,), (), (), problem="no cluster").exit_code is ExitCode.CLUSTER
