"""A drain beside the real controllers of Deployments, ReplicaSets and budgets; the test is scheduler and kubelet."""

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from llmprov.cluster.client import Cluster
from llmprov.cluster.credentials import Credentials
from llmprov.cluster.drain import drain, finish
from llmprov.cluster.drain_plan import plan
from llmprov.cluster.evict import force_delete
from llmprov.cluster.nodes import delete_node, uncordon
from llmprov.cluster.objects import DEPLOYMENT, NODE, POD, Node, Pod
from llmprov.cluster.replicas import Replicas
from llmprov.cluster.rollout import TEMPLATE_HASH
from llmprov.cluster.wait import Selection, watch_until
from llmprov.cluster.workloads import Deployment
from llmprov.errors import ClusterError
from llmprov.progress import NullProgress
from tests.contract.apiserver.conftest import _binary, _process

READY = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}


@pytest.fixture(scope="module", autouse=True)
def _controllers(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    directory = tmp_path_factory.mktemp("controllers")
    program = _binary("kube-controller-manager", directory)
    if program is None:
        pytest.skip("no kube-controller-manager on PATH and no bundle to take it from: make bundle")
    config = directory / "kubeconfig"
    config.write_text(json.dumps(_kubeconfig(credentials)))
    command = [
        str(program),
        f"--kubeconfig={config}",
        "--controllers=deployment-controller,replicaset-controller,disruption-controller",
        *("--leader-elect=false", "--use-service-account-credentials=false", "--secure-port=0"),
    ]
    with _process(directory / "log", command):
        yield


def _kubeconfig(credentials: Credentials) -> dict[str, Any]:
    def data(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    cluster = {
        "server": f"https://127.0.0.1:{credentials.port}",
        "tls-server-name": "kubernetes",
        "certificate-authority-data": data(credentials.ca),
    }
    user = {"client-certificate-data": data(credentials.certificate), "client-key-data": data(credentials.key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }


class Kubelets:
    """Places pods on nodes that take some, makes them ready, and ends those that are told to stop."""

    def __init__(self, cluster: Cluster, namespace: str, nodes: list[str]) -> None:
        self.cluster, self.namespace, self.nodes = cluster, namespace, nodes
        self.history: list[tuple[str, str]] = []
        self.starting = threading.Event()
        self.starting.set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Kubelets":  # noqa: PYI034
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(0.1):
            for pod in map(Pod.model_validate, self.cluster.list(POD, self.namespace).items):
                self._treat(pod)

    def _treat(self, pod: Pod) -> None:
        name = pod.metadata.name
        if pod.metadata.deletion_timestamp is not None:
            force_delete(self.cluster, pod)
            self.history.append(("stopped", name))
        elif not pod.spec.node_name:
            nodes = [Node.model_validate(item) for item in self.cluster.list(NODE).items]
            open_nodes = [n.metadata.name for n in nodes if n.metadata.name in self.nodes and not n.spec.unschedulable]
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": name},
                "target": {"apiVersion": "v1", "kind": "Node", "name": open_nodes[-1]},
            }
            path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/binding"
            with self.cluster.open("POST", path, body=binding):
                pass
        elif not pod.ready and self.starting.is_set():
            status = {"status": {"phase": "Running", **READY}}
            self.cluster.merge(POD, name, status, namespace=self.namespace, subresource="status")
            self.history.append(("ready", name))


@pytest.fixture
def nodes(cluster: Cluster, namespace: str) -> Iterator[list[str]]:
    names = [f"{namespace}-gpu1", f"{namespace}-gpu2"]
    for name in names:
        cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        cluster.merge(NODE, name, {"spec": {"taints": None}})  # a new node is not ready: a controller takes it back
        status = {"status": {"allocatable": {"nvidia.com/gpu": "2"}, **READY}}
        cluster.merge(NODE, name, status, subresource="status")
    yield names
    for name in names:
        delete_node(cluster, name)


def deploy(cluster: Cluster, namespace: str, replicas: int) -> None:
    meta = {"name": "m", "namespace": namespace}
    labels = {"app": "vllm", "model": "m"}
    cluster.apply(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": meta,
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "vllm"}}},
        }
    )
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {
        "replicas": replicas,
        "minReadySeconds": 1,
        "selector": {"matchLabels": {"app": "vllm"}},
        "template": template,
    }
    cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})

    def decide(items: Any) -> bool | None:  # noqa: ANN401 - objects
        return True if items and Deployment.model_validate(items[0]).rolled_out else None

    assert watch_until(cluster, Selection(DEPLOYMENT, namespace), decide, seconds=30)


@pytest.mark.parametrize("replicas", [1, 2])
def test_replicas_are_replaced_before_they_go(
    cluster: Cluster, namespace: str, nodes: list[str], replicas: int
) -> None:
    models = Replicas(namespace, "model")
    with Kubelets(cluster, namespace, nodes) as kubelets:
        deploy(cluster, namespace, replicas)
        before = {pod.metadata.name for pod in _pods(cluster, namespace)}
        assert len(before) == replicas
        kubelets.history.clear()
        chosen = plan(cluster, [nodes[1]], models, force=False, drain_first=False)
        (done,) = drain(cluster, chosen, models, NullProgress(), seconds=60)
        found = cluster.get(DEPLOYMENT, "m", namespace)
    assert {name.partition("/")[2] for name in done.replaced} == before
    assert done.evicted == ()
    assert [what for what, _ in kubelets.history] == ["ready"] * replicas + ["stopped"] * replicas
    assert {name for what, name in kubelets.history if what == "stopped"} == before
    left = _pods(cluster, namespace)
    assert {pod.spec.node_name for pod in left} == {nodes[0]}
    assert all(TEMPLATE_HASH in pod.metadata.labels for pod in left)
    assert Deployment.model_validate(found).status.available_replicas == replicas


def test_what_an_interrupted_drain_let_go_serves_until_it_is_replaced(
    cluster: Cluster, namespace: str, nodes: list[str]
) -> None:
    models = Replicas(namespace, "model")
    with Kubelets(cluster, namespace, nodes) as kubelets:
        deploy(cluster, namespace, 1)
        kubelets.history.clear()
        kubelets.starting.clear()
        for _ in range(2):  # again, it lets no second one go
            chosen = plan(cluster, [nodes[1]], models, force=False, drain_first=False)
            with pytest.raises(ClusterError, match="is not empty"):
                drain(cluster, chosen, models, NullProgress(), seconds=3)
        old, new = sorted(_pods(cluster, namespace), key=lambda pod: TEMPLATE_HASH in pod.metadata.labels)
        assert (old.ready, old.metadata.owner_references) == (True, ())
        assert (new.ready, new.spec.node_name) == (False, nodes[0])
        uncordon(cluster, nodes[1])
        kubelets.starting.set()
        gone = finish(cluster, nodes[1], models, NullProgress(), seconds=30)
        assert gone == (f"{namespace}/{old.metadata.name}",)
        assert watch_until(
            cluster, Selection(POD, namespace), lambda items: True if len(items) == 1 else None, seconds=30
        )
    assert kubelets.history == [("ready", new.metadata.name), ("stopped", old.metadata.name)]
    assert [pod.metadata.name for pod in _pods(cluster, namespace)] == [new.metadata.name]


def _pods(cluster: Cluster, namespace: str) -> list[Pod]:
    return [Pod.model_validate(item) for item in cluster.list(POD, namespace).items]
