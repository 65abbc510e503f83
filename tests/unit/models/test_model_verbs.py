"""`llmprov model list, show, scale, rollout, remove` as a user types them, on an API in memory."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmprov.bundle.lock import BundleLock
from llmprov.cli import model as model_verb
from llmprov.cli.main import app
from llmprov.cluster.client import Cluster
from llmprov.errors import ModelError
from llmprov.inventory import Inventory
from llmprov.manifests.model import NAMESPACE
from llmprov.progress import NullProgress
from llmprov.workflows import model_deploy, model_show, models, rollout_pull
from llmprov.workflows.model_deploy import check_images, parse_replicas
from tests.unit.alone import work_alone
from tests.unit.bundle.servers import Registry
from tests.unit.cluster.fakeapi import FakeApi
from tests.unit.models.conftest import MODEL
from tests.unit.models.test_serving import finish, put_node

SCALED = {**MODEL, "replicas": {"min": 1, "max": 3}, "autoscaling": {"cooldown_seconds": 60}}
READY = [{"type": "Ready", "status": "True"}]


@pytest.fixture
def inventory(make_inventory: Callable[..., Inventory]) -> Inventory:
    return make_inventory(MODEL)


@pytest.fixture(autouse=True)
def operators(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inventory: Inventory, cluster: Cluster, lock: BundleLock
) -> list[str]:
    """The verbs that kept others away; verbs work on the stand-in for a cluster."""
    monkeypatch.setenv("LLMPROV_PROGRESS", "silent")
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))

    @contextmanager
    def opened(_inventory: Inventory) -> Iterator[Cluster]:
        yield cluster

    monkeypatch.setattr(model_verb, "load", lambda _: inventory)
    monkeypatch.setattr(BundleLock, "load", lambda _: lock)
    monkeypatch.setattr(model_deploy, "check_images", lambda *_: None)
    for workflow in (model_deploy, model_show):
        monkeypatch.setattr(workflow, "open_cluster", opened)
    return work_alone(monkeypatch)


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["model", *words, "-i", "x"], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def deployment(api: FakeApi, name: str = "m") -> dict[str, Any]:
    found: dict[str, Any] = api.objects["apps/v1/deployments", NAMESPACE, name]
    return found


def ready(api: FakeApi, replicas: int = 1) -> None:
    keys = ("replicas", "updatedReplicas", "availableReplicas", "readyReplicas")
    finish(api, "Deployment", NAMESPACE, "m", dict.fromkeys(keys, replicas))


def put_pod(api: FakeApi, node: str = "gpu1", waiting: str = "") -> None:
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    requests = {"nvidia.com/gpu": "1"}
    api.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "m-1", "namespace": NAMESPACE, "labels": {"llmprov.io/model": "m"}},
            "spec": {
                "nodeName": node,
                "containers": [{"name": "vllm", "image": "e", "resources": {"requests": requests}}],
            },
            "status": {
                "conditions": [] if waiting else READY,
                "containerStatuses": [{"name": "vllm", "restartCount": 1, "state": state}],
            },
        }
    )


@pytest.fixture
def served(api: FakeApi, cluster: Cluster, inventory: Inventory, lock: BundleLock) -> FakeApi:
    """A cluster of one node with two GPUs that serves model m."""
    put_node(api, "gpu1", gpus=2)
    models.deploy(cluster, inventory, lock, NullProgress())
    ready(api)
    put_pod(api)
    return api


def test_list(served: FakeApi) -> None:
    assert served
    code, output = invoke("list", "--json")
    (found,) = json.loads(output)
    assert (code, found["name"], found["ready"], found["replicas"], found["state"]) == (0, "m", 1, "1", "ready")
    assert "1 of 1" in invoke("list")[1]


def test_models_that_only_one_side_has(api: FakeApi) -> None:
    meta = {"name": "old", "namespace": NAMESPACE, "labels": {"llmprov.io/model": "old"}}
    api.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 2}, "status": {}})
    states = {item["name"]: item["state"] for item in json.loads(invoke("list", "--json")[1])}
    assert states == {"m": "not deployed", "old": "not in the inventory"}


def test_show(served: FakeApi) -> None:
    assert served
    document = json.loads(invoke("show", "m", "--json")[1])
    assert document["replicas"] == ["m-1 on gpu1: ready"]
    assert document["stop_seconds"] == 140
    assert document["autoscaling"] is None
    assert "m-1 on gpu1: ready" in invoke("show", "m")[1]
    with pytest.raises(ModelError, match="no model 'n'"):
        invoke("show", "n")


def test_show_of_an_autoscaler_without_prometheus(
    served: FakeApi, make_inventory: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served
    monkeypatch.setattr(model_verb, "load", lambda _: make_inventory(SCALED))
    scaling = json.loads(invoke("show", "m", "--json")[1])["autoscaling"]
    assert (scaling["requests"], scaling["max"], scaling["cooldown_seconds"]) == (None, 3, 60)
    assert "none in the cluster" in scaling["state"]
    assert "no data, one replica is to have 16" in invoke("show", "m")[1]


def test_scale(served: FakeApi) -> None:
    ready(served, 2)
    code, output = invoke("scale", "m", "2")
    assert (code, deployment(served)["spec"]["replicas"]) == (0, 2)
    assert "ready m" in output


def test_scaling_beyond_the_gpus_changes_nothing(served: FakeApi) -> None:
    with pytest.raises(ModelError, match="only 2 of 4 replicas have room now; nothing was changed") as caught:
        invoke("scale", "m", "4")
    assert "gpu1: 0 of 2 GPUs free" in caught.value.details[0]
    assert deployment(served)["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("text", "words"), [("two", "'two' is no number"), ("3-1", "min .3. is more than max .1."), ("0-2", "at least 1")]
)
def test_numbers_of_replicas_that_are_none(text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        parse_replicas(text)


def test_numbers_of_replicas() -> None:
    assert str(parse_replicas("3")) == "3"
    assert str(parse_replicas("1-4")) == "1-4"


def change(monkeypatch: pytest.MonkeyPatch, make_inventory: Callable[..., Inventory], **model: object) -> None:
    monkeypatch.setattr(model_verb, "load", lambda _: make_inventory({**MODEL, **model}))
    monkeypatch.setattr(rollout_pull, "_present", lambda _: {"gpu1": frozenset({ENGINE, WEIGHTS})})


ENGINE = "docker.io/vllm/vllm-openai@sha256:" + "76" * 32
WEIGHTS = "llmprov.internal/models/tiny@sha256:" + "74" * 32


def test_a_dry_run_prints_the_choice_and_changes_nothing(
    served: FakeApi, make_inventory: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.dumps(served.objects[("apps/v1/deployments", NAMESPACE, "m")])
    assert json.loads(invoke("rollout", "m", "--dry-run", "--json")[1])["move"] == "keep"
    change(monkeypatch, make_inventory, max_model_len=512)
    plan = json.loads(invoke("rollout", "m", "--dry-run", "--json")[1])
    assert (plan["move"], plan["nodes"]) == ("surge", ["gpu1"])
    assert "gpu1: 1 of 2 GPUs free" in plan["why"]
    change(monkeypatch, make_inventory, max_model_len=512, rollout={"strategy": "drain-first"})
    assert "warning model m: its only replica stops first" in invoke("rollout", "m", "--dry-run")[1].replace("\n", " ")
    change(monkeypatch, make_inventory, resources={"gpus": 4})
    with pytest.raises(ModelError, match="no node has room"):
        invoke("rollout", "m", "--dry-run")
    assert json.dumps(served.objects[("apps/v1/deployments", NAMESPACE, "m")]) == before


def test_a_rollout(served: FakeApi, make_inventory: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, make_inventory, max_model_len=512)
    code, output = invoke("rollout", "m")
    assert code == 0
    assert "m: surge on gpu1" in output
    assert "512" in json.dumps(deployment(served)["spec"]["template"])
    assert json.loads(invoke("rollout", "m", "--json")[1])["rollout"]["move"] == "keep"


def test_a_restart_marks_the_template(served: FakeApi, monkeypatch: pytest.MonkeyPatch, inventory: Inventory) -> None:
    assert inventory
    monkeypatch.setattr(rollout_pull, "_present", lambda _: {"gpu1": frozenset({ENGINE, WEIGHTS})})
    document = json.loads(invoke("rollout", "m", "--restart", "--json")[1])
    assert document["rollout"]["move"] == "surge"
    assert "llmprov.io/restarted-at" in deployment(served)["spec"]["template"]["metadata"]["annotations"]


def test_a_revision_that_crashes_is_taken_back(
    served: FakeApi, make_inventory: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, make_inventory, engine={"args": ["--wrong"]})
    put = served.put

    def react(item: dict[str, Any]) -> dict[str, Any]:
        """Do what the cluster does: the new pod crashes, the old one comes back."""
        done = put(item)
        if item["kind"] == "Deployment":
            put_pod_like = "CrashLoopBackOff" if "--wrong" in json.dumps(item["spec"]) else ""
            monkeypatch.setattr(served, "put", put)
            put_pod(served, waiting=put_pod_like)
            monkeypatch.setattr(served, "put", react)
        return done

    served.logs["m-1/true"] = "error: unrecognized arguments: --wrong\n"
    monkeypatch.setattr(served, "put", react)
    with pytest.raises(ModelError, match="was taken back; the previous revision serves with 1 replicas") as caught:
        invoke("rollout", "m")
    assert caught.value.exit_code == 10
    assert "the engine on gpu1 crashed" in caught.value.details[0]
    assert caught.value.details[-1] == "  error: unrecognized arguments: --wrong"
    assert "--wrong" not in json.dumps(deployment(served)["spec"]["template"])


def test_a_first_revision_that_crashes_stays_to_be_looked_at(served: FakeApi, inventory: Inventory) -> None:
    assert inventory
    finish(served, "Deployment", NAMESPACE, "m", {})
    put_pod(served, waiting="CrashLoopBackOff")
    with pytest.raises(Exception, match="the engine on gpu1 crashed"):
        invoke("deploy", "m")


def test_images_are_pulled_ahead_and_the_pods_for_it_removed(
    served: FakeApi, make_inventory: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_verb, "load", lambda _: make_inventory({**MODEL, "max_model_len": 512}))
    put = served.put

    def react(item: dict[str, Any]) -> dict[str, Any]:
        pull = "llmprov.io/prepull" in item["metadata"].get("labels", {})
        return put({**item, "status": {"phase": "Succeeded"}} if pull else item)

    monkeypatch.setattr(served, "put", react)
    assert invoke("rollout", "m")[0] == 0
    deleted = [line for line in served.requests if line.startswith("DELETE") and f"{NAMESPACE}/pods/m-" in line]
    assert len(deleted) == 2
    assert [name for _, _, name in served.objects if name.startswith("m-")] == ["m-1"]


def test_an_image_that_cannot_be_pulled_stops_no_replica(
    served: FakeApi, make_inventory: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_verb, "load", lambda _: make_inventory({**MODEL, "max_model_len": 512}))
    before = json.dumps(deployment(served))
    put = served.put

    def react(item: dict[str, Any]) -> dict[str, Any]:
        waiting = {"reason": "ErrImagePull", "message": "not found"}
        status = {"containerStatuses": [{"name": "prepull", "state": {"waiting": waiting}}]}
        return put({**item, "status": status} if item["kind"] == "Pod" else item)

    monkeypatch.setattr(served, "put", react)
    with pytest.raises(ModelError, match="nothing was changed: gpu1: an image cannot be pulled on gpu1: not found"):
        invoke("rollout", "m")
    assert json.dumps(deployment(served)) == before


def test_remove(served: FakeApi) -> None:
    served.remove(("v1/pods", NAMESPACE, "m-1"))
    document = json.loads(invoke("remove", "m", "--json")[1])
    assert f"Deployment {NAMESPACE}/m" in document["objects"]
    assert f"ServiceAccount {NAMESPACE}/m" in document["objects"]
    assert ("v1/namespaces", "", NAMESPACE) in served.objects
    with pytest.raises(ModelError, match="no model 'm' in the cluster"):
        invoke("remove", "m")


def test_what_changes_models_keeps_others_away_and_is_journaled(
    served: FakeApi,
    make_inventory: Callable[..., Inventory],
    monkeypatch: pytest.MonkeyPatch,
    operators: list[str],
) -> None:
    change(monkeypatch, make_inventory, max_model_len=512)
    invoke("rollout", "m", "--dry-run")
    assert operators == []
    invoke("rollout", "m")
    invoke("deploy")
    with pytest.raises(ModelError, match="only 2 of 4"):
        invoke("scale", "m", "4")
    served.remove(("v1/pods", NAMESPACE, "m-1"))
    invoke("remove", "m")
    verbs = ["model rollout", "model deploy", "model scale", "model remove"]
    assert operators == verbs
    result = CliRunner().invoke(app, ["runs", "--json"])
    assert {run["verb"]: run["outcome"] for run in json.loads(result.stdout)} == {
        verb: "failed" if verb == "model scale" else "ok" for verb in verbs
    }


def test_deploying_one_model_leaves_the_others(
    served: FakeApi, make_inventory: Callable[..., Inventory], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**MODEL, "name": "other"}
    monkeypatch.setattr(model_verb, "load", lambda _: make_inventory(other))
    monkeypatch.setattr(models, "wait_ready", lambda *_, **__: ())
    assert invoke("deploy", "other")[0] == 0
    assert deployment(served)
    assert deployment(served, "other")
    with pytest.raises(ModelError, match="the inventory has no model 'otter'") as caught:
        invoke("deploy", "otter")
    assert caught.value.remedy == "did you mean other?"


def test_images_that_the_registry_lacks(
    make_inventory: Callable[..., Inventory], lock: BundleLock, registry: Registry
) -> None:
    digest = registry.add_image("llmprov.internal/models/other", "v2", [b"layer"])
    reference = f"llmprov.internal/models/other@{digest}"
    port = int(registry.url.rpartition(":")[2])
    inventory = make_inventory({"name": "m", "source": {"image": reference}}, push_port=port)
    with pytest.raises(ModelError, match="lacks 1 images; nothing was changed") as caught:
        check_images(inventory, lock)
    assert caught.value.details == (f"m: {ENGINE}",)
