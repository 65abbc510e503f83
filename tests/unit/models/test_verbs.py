"""The verbs as a user types them, up to the cluster, which is the API in memory."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmprov.bundle.lock import BundleLock
from llmprov.cli import chat as chat_verb
from llmprov.cli import model as model_verb
from llmprov.cli import status as status_verb
from llmprov.cli.main import app
from llmprov.cluster.client import Cluster
from llmprov.cluster.pods import ReplicaTiming, utc_now
from llmprov.errors import ClusterError, ModelError
from llmprov.inventory import Inventory
from llmprov.report.model import print_deployed, size
from llmprov.report.status import age
from llmprov.states import ReadyModel
from llmprov.workflows import chat, model_deploy, models, status
from tests.unit.alone import work_alone
from tests.unit.bundle.servers import Registry, Web
from tests.unit.cluster.fakeapi import FakeApi
from tests.unit.models.test_serving import event, piece, put_model, put_node
from tests.unit.ssh.fakessh import FakeSsh


@pytest.fixture
def inventory(make_inventory: Callable[..., Inventory], registry: Registry) -> Inventory:
    return make_inventory(push_port=int(registry.url.rpartition(":")[2]))


@pytest.fixture(autouse=True)
def _wired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inventory: Inventory, cluster: Cluster) -> None:
    monkeypatch.setenv("LLMPROV_PROGRESS", "silent")
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))
    work_alone(monkeypatch)

    @contextmanager
    def opened(_inventory: Inventory, *, patience: float = 1.0) -> Iterator[Cluster]:
        assert patience
        yield cluster

    for verb in (chat_verb, model_verb, status_verb):
        monkeypatch.setattr(verb, "load", lambda _: inventory)
    for workflow in (chat, model_deploy, status):
        monkeypatch.setattr(workflow, "open_cluster", opened)


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words, "-i", "x"], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_chat(api: FakeApi) -> None:
    put_model(api)
    usage = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2})
    api.proxied = lambda _: (200, [piece("Par"), piece("is", "length"), usage, b"data: [DONE]\n"])
    assert invoke("chat", "m", "capital?") == (0, "Paris\n")
    code, output = invoke("chat", "m", "capital?", "--json", "--max-tokens", "2")
    assert code == 0
    assert json.loads(output)["text"] == "Paris"
    assert json.loads(output)["finish_reason"] == "length"


def test_chat_while_no_replica_is_behind_the_service(api: FakeApi) -> None:
    put_model(api)
    with pytest.raises(ModelError, match="cannot be reached: no endpoints"):
        invoke("chat", "m", "hi")


def test_status_of_a_healthy_cluster(api: FakeApi) -> None:
    put_node(api, "cp1")
    put_node(api, "gpu1", gpus=2)
    put_model(api)
    code, output = invoke("status")
    assert code == 0
    assert "1 of 1" in output
    assert "http://m.llmprov-models.svc.cluster.local:8000/v1" in output
    code, output = invoke("status", "--json")
    document = json.loads(output)
    assert document["ok"] is True
    assert [node["name"] for node in document["nodes"]] == ["cp1", "gpu1"]
    assert [host["reachable"] for host in document["hosts"]] == [True, True]


def test_status_with_a_model_that_is_missing(api: FakeApi) -> None:
    put_node(api, "cp1")
    code, output = invoke("status")
    assert code == 10
    assert "not deployed" in output


def test_status_when_hosts_and_api_are_away(ssh_program: FakeSsh, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_inventory: Inventory, *, patience: float) -> Iterator[Cluster]:
        raise ClusterError(f"no answer in {patience} s", remedy="look")

    monkeypatch.setattr(status, "open_cluster", refused)
    ssh_program.fail_with("ssh: connect to host cp1 port 22: No route to host")
    code, output = invoke("status")
    assert code == 6
    assert output.count("unreachable") >= 2
    ssh_program.fail_with("")
    code, _ = invoke("status")
    assert code == 8


def test_push_and_list(weights: Path) -> None:
    code, output = invoke("model", "push", str(weights), "other")
    assert code == 0
    assert "image: llmprov.internal/models/other@sha256:" in output.replace("\n", "")
    code, output = invoke("model", "push", str(weights), "other", "--json")
    assert json.loads(output)["sent"] == 0


def test_list(make_inventory: Callable[..., Inventory], web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = {"schemaVersion": 2, "config": {"mediaType": "x", "digest": "sha256:0", "size": 2}}
    layers = [{"mediaType": "l", "digest": "sha256:1", "size": 300 << 20}]
    name = "llmprov.internal/models/tiny"
    web.put("/v2/_catalog?n=1000", json.dumps({"repositories": ["registry.k8s.io/pause", name]}).encode())
    web.put(f"/v2/{name}/tags/list", json.dumps({"tags": ["latest"]}).encode())
    digest = {"Docker-Content-Digest": "sha256:" + "a" * 64}
    web.put(f"/v2/{name}/manifests/latest", json.dumps({**manifest, "layers": layers}).encode(), headers=digest)
    inventory = make_inventory(push_port=int(web.url.rpartition(":")[2]))
    monkeypatch.setattr(model_verb, "load", lambda _: inventory)
    code, output = invoke("model", "list", "--registry", "--json")
    assert code == 0
    (found,) = json.loads(output)
    assert (found["name"], found["tag"], found["size"], found["served_as"]) == ("tiny", "latest", 300 << 20, ["m"])
    assert "300.0 MiB" in invoke("model", "list", "--registry")[1]


def test_deploy(monkeypatch: pytest.MonkeyPatch, lock: object) -> None:
    monkeypatch.setattr(BundleLock, "load", lambda _: lock)
    taken: list[bool] = []

    def deploy(*_: object, take_over: bool, names: tuple[str, ...]) -> None:
        assert names == ()
        taken.append(take_over)

    replica = ReplicaTiming("m-1", "gpu1", 12.0, 34.0)
    monkeypatch.setattr(models, "deploy", deploy)
    monkeypatch.setattr(model_deploy, "check_images", lambda *_: None)
    monkeypatch.setattr(models, "wait_ready", lambda *_, **__: (ReadyModel("m", "http://m", (replica,)),))
    code, output = invoke("model", "deploy", "--take-over")
    assert (code, taken) == (0, [True])
    assert "pull 12 s, engine start 34 s" in output
    assert json.loads(invoke("model", "deploy", "--json")[1])[0]["name"] == "m"


def test_a_replica_whose_times_are_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    print_deployed((ReadyModel("m", "http://m", (ReplicaTiming("p", "gpu1", None, None),)),), as_json=False)
    assert "gpu1: running" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (2048, "2.0 KiB"), (5 << 40, "5.0 TiB"), (5 << 50, "5120.0 TiB")]
)
def test_size(number: int, text: str) -> None:
    assert size(number) == text


def test_age() -> None:
    assert age(None) == "-"
    assert age(utc_now()) == "0 s"
