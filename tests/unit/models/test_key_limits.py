"""Keys that may not use every model: what the verbs write, and that the proxies are told the same by the station."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmprov.cli import key as key_verb
from llmprov.cli.main import app
from llmprov.cluster.apply import as_member
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.compare import in_sync, marked
from llmprov.cluster.objects import SECRET
from llmprov.errors import ClusterError
from llmprov.inventory import Inventory
from llmprov.manifests.gateway import GATEWAY, KEYS_SECRET, NAMESPACE, SERVICE, GatewayInputs, gateway_objects
from llmprov.progress import NullProgress
from llmprov.workflows import gateway, gateway_keys, gateway_limits
from llmprov.workflows.gateway_secrets import keys_secret, tls_secrets
from tests.unit.cluster.fakeapi import KINDS, FakeApi
from tests.unit.models.gateway_server import GATEWAY_KINDS, proxies

INPUTS = GatewayInputs(
    proxy_image="envoy",
    node_port=30443,
    replicas=2,
    workers=4,
    drain_seconds=600,
    max_body="8Mi",
    proxy_memory="512Mi",
    route_namespaces=(),
)
OF_THE_API = {"uid", "resourceVersion", "managedFields"}
PLURAL = "gateway.envoyproxy.io/v1alpha1/envoyextensionpolicys"


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for group, kinds in GATEWAY_KINDS.items():
        monkeypatch.setitem(KINDS, group, kinds)


@pytest.fixture
def inventory(make_inventory: Callable[..., Inventory]) -> Inventory:
    source = {"artifact": "tiny"}
    return make_inventory(
        {"name": "small", "source": source},
        {"name": "large", "served_name": "org/Large", "source": source},
    )


@pytest.fixture(autouse=True)
def _gateway(
    _kinds: None, cluster: Cluster, api: FakeApi, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def opened(_inventory: Inventory) -> Iterator[Cluster]:
        yield cluster

    monkeypatch.setattr(key_verb, "load", lambda _: inventory)
    monkeypatch.setattr(gateway_keys, "open_cluster", opened)
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    cluster.apply(marked(as_member(keys_secret(), "gateway")))
    cluster.apply(policy(cluster))
    gateway_keys.add_key(cluster, "default")


def policy(cluster: Cluster) -> Object:
    """Return the policy as the station applies it."""
    objects = gateway_objects(INPUTS, gateway_limits.key_models(cluster))
    [found] = [item for item in objects if item["kind"] == "EnvoyExtensionPolicy"]
    return marked(as_member(found, "gateway"))


def stored(api: FakeApi) -> dict[str, Any]:
    return api.objects[PLURAL, NAMESPACE, GATEWAY]


def told(cluster: Cluster, api: FakeApi) -> dict[str, Any]:
    """Return what the proxies are told of the keys; the station would tell them the same."""
    live = stored(api)
    given = {key: value for key, value in live["metadata"].items() if key not in OF_THE_API}
    assert {**live, "metadata": given} == policy(cluster)
    keys: dict[str, Any] = live["spec"]["lua"][0]["filterContext"]["keys"]
    return keys


def invoke(*words: str) -> str:
    result = CliRunner().invoke(app, [*words, "-i", "x"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def limits() -> dict[str, list[str] | None]:
    return {key["name"]: key["models"] for key in json.loads(invoke("key", "list", "--json"))}


def test_a_key_is_made_for_models_given_others_and_freed(cluster: Cluster, api: FakeApi) -> None:
    made = invoke("key", "create", "team-a", "--model", "small").strip()
    assert told(cluster, api) == {"default": True, "team-a": ["small"]}
    assert limits() == {"default": None, "team-a": ["small"]}
    assert json.loads(invoke("key", "show", "team-a", "--json"))["models"] == ["small"]
    invoke("key", "allow", "team-a", "--model", "large", "--model", "small")
    assert told(cluster, api) == {"default": True, "team-a": ["org/Large", "small"]}
    invoke("key", "allow", "team-a", "--model", "org/Large")
    assert limits()["team-a"] == ["org/Large"]
    assert "org/Large" in invoke("key", "list")
    invoke("key", "allow", "team-a", "--all")
    assert told(cluster, api) == {"default": True, "team-a": True}
    assert limits() == {"default": None, "team-a": None}
    assert invoke("key", "show", "team-a").strip() == made


def test_after_a_change_the_station_finds_nothing_to_apply(cluster: Cluster, api: FakeApi) -> None:
    invoke("key", "create", "team-a", "--model", "small")
    assert in_sync(policy(cluster), stored(api))
    invoke("key", "allow", "team-a", "--all")
    assert in_sync(policy(cluster), stored(api))


def test_a_limit_goes_with_its_key(cluster: Cluster, api: FakeApi) -> None:
    invoke("key", "create", "team-a", "--model", "small")
    invoke("key", "revoke", "team-a")
    assert told(cluster, api) == {"default": True}
    invoke("key", "create", "team-a")
    assert told(cluster, api) == {"default": True, "team-a": True}


@pytest.mark.parametrize("words", [("create", "team-b"), ("allow", "default")])
def test_a_model_that_there_is_not_changes_nothing(cluster: Cluster, api: FakeApi, words: tuple[str, str]) -> None:
    with pytest.raises(ClusterError, match=r"no model 'smal'; did you mean 'small'") as caught:
        invoke("key", *words, "--model", "smal")
    assert "org/Large, small" in caught.value.remedy
    assert told(cluster, api) == {"default": True}


@pytest.mark.parametrize("words", [(), ("--all", "--model", "small")])
def test_allow_wants_either_models_or_all(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, ["key", "allow", "default", "-i", "x", *words]).exit_code == 2


def test_allow_knows_only_keys_that_there_are() -> None:
    with pytest.raises(ClusterError, match="no key 'defaul'; did you mean 'default'"):
        invoke("key", "allow", "defaul", "--all")


@pytest.mark.parametrize("text", ["", "small", '{"small": true}', "[1]", '"small"', "null"])
def test_a_limit_that_cannot_be_read_allows_nothing(cluster: Cluster, text: str) -> None:
    annotations = {"models.llmprov.io/default": text}
    cluster.merge(SECRET, KEYS_SECRET, {"metadata": {"annotations": annotations}}, namespace=NAMESPACE)
    assert gateway_limits.key_models(cluster) == {"default": ()}
    assert limits() == {"default": []}
    assert "none" in invoke("key", "list")


def test_a_gateway_of_before_takes_keys_but_no_limits(cluster: Cluster, api: FakeApi) -> None:
    live = stored(api)
    [script] = live["spec"]["lua"]
    api.put({**live, "spec": {**live["spec"], "lua": [{"type": "Inline", "inline": script["inline"]}]}})
    for words in (("create", "team-a", "--model", "small"), ("allow", "default", "--model", "small")):
        with pytest.raises(ClusterError, match="cannot hold keys to models") as caught:
            invoke("key", *words)
        assert caught.value.remedy.endswith("llmprov install")
    assert limits() == {"default": None}
    invoke("key", "create", "team-b")
    invoke("key", "revoke", "default")
    assert gateway_limits.key_models(cluster) == {"team-b": None}


def test_of_two_verbs_at_a_time_the_second_reads_what_both_wrote(
    cluster: Cluster, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes between this one's reading and its writing, which is refused then."""
    apply, pending = cluster.apply, [True]

    def meanwhile(target: Object) -> Object:
        if not pending:
            return apply(target)
        pending.clear()
        gateway_keys.add_key(cluster, "other", ("small",))
        assert target["metadata"]["resourceVersion"] != stored(api)["metadata"]["resourceVersion"]  # type: ignore[index]
        raise ClusterError("409 Conflict")

    monkeypatch.setattr(cluster, "apply", meanwhile)
    invoke("key", "create", "team-a", "--model", "large")
    assert told(cluster, api) == {"default": True, "other": ["small"], "team-a": ["org/Large"]}


def test_a_key_that_came_while_the_gateway_was_applied_is_told_of(cluster: Cluster, api: FakeApi) -> None:
    rendered = policy(cluster)
    gateway_keys.add_key(cluster, "team-a", ("small",))
    cluster.apply(rendered)
    gateway_keys.ensure_first_key(cluster)
    assert told(cluster, api) == {"default": True, "team-a": ["small"]}


def test_a_refused_change_is_an_error(api: FakeApi) -> None:
    api.conflict = GATEWAY
    with pytest.raises(ClusterError, match="somebody else has set fields"):
        invoke("key", "allow", "default", "--model", "small")
    api.conflict = ""
    assert limits() == {"default": ["small"]}, "what the next installation tells the proxies"


def test_llmprov_itself_takes_a_key_for_every_model_where_there_is_one(cluster: Cluster) -> None:
    free = gateway_keys.add_key(cluster, "zeta")
    assert gateway_keys.any_key(cluster) == invoke("key", "show", "default").strip()
    invoke("key", "allow", "default", "--model", "small")
    assert gateway_keys.any_key(cluster) == free.key
    invoke("key", "allow", "zeta", "--model", "large")
    assert gateway_keys.any_key(cluster) == invoke("key", "show", "default").strip()


@pytest.mark.parametrize(("code", "wrong"), [("model_not_allowed", ""), ("quota_exceeded", "403")])
def test_an_install_goes_on_where_every_key_is_limited(
    cluster: Cluster,
    api: FakeApi,
    inventory: Inventory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    wrong: str,
) -> None:
    for name, value in (("_ANSWER_SECONDS", 0.1), ("_PAUSE", 0.01), ("wait_rolled_out", lambda *_: None)):
        monkeypatch.setattr(gateway, name, value)
    meta = {"name": SERVICE, "namespace": NAMESPACE}
    api.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta})
    for item in tls_secrets(cluster, inventory):
        cluster.apply(item)

    def reply(authorization: str, _body: dict[str, Any]) -> tuple[int, list[bytes]]:
        status, said = (403, code) if authorization else (401, "invalid_api_key")
        return status, [json.dumps({"error": {"code": said}}).encode()]

    with proxies(api, reply, tmp_path) as port:
        settings = inventory.settings.model_copy(update={"gateway_port": port})
        there = inventory.model_copy(update={"settings": settings})
        for wait in (gateway.wait, gateway.wait_models):
            with pytest.raises(ClusterError, match=wrong) if wrong else nullcontext():
                wait(cluster, there, NullProgress())
