"""The gateway station against the API in memory; a TLS server on loopback stands where the proxies would."""

import copy
import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Literal, Self

import pytest
import urllib3
from typer.testing import CliRunner

from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.cli import gateway as gateway_verb
from llmprov.cli import key as key_verb
from llmprov.cli.main import app
from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import SECRET
from llmprov.errors import ClusterError, InventoryError
from llmprov.inventory import Inventory
from llmprov.manifests.gateway import CA_SECRET, KEYS_SECRET, NAMESPACE, TLS_SECRET
from llmprov.progress import NullProgress
from llmprov.workflows import certificates, chat, gateway, gateway_access, gateway_keys, gateway_secrets
from llmprov.workflows.certificates import issue, make_authority
from llmprov.workflows.gateway_client import open_gateway
from llmprov.workflows.plan_objects import plan_objects
from tests.unit.cluster.fakeapi import KINDS, FakeApi
from tests.unit.gateway.test_gateway_objects import RELEASE
from tests.unit.models.gateway_server import GATEWAY_KINDS, proxies, secret
from tests.unit.models.test_serving import event, piece, put_model


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for group, kinds in GATEWAY_KINDS.items():
        monkeypatch.setitem(KINDS, group, kinds)


@pytest.fixture
def inventory(make_inventory: Callable[..., Inventory]) -> Inventory:
    return make_inventory()


@pytest.fixture
def whole_lock(lock: BundleLock, inventory: Inventory) -> BundleLock:
    """The bundle with what the gateway needs; of the release only what its objects are made of."""
    blobs = inventory.settings.bundle_dir / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    definition, _, rest = RELEASE.partition("---")
    del definition
    objects = "---".join(part for part in rest.split("---") if "CustomResourceDefinition" not in part)
    texts = {
        "gateway-api-crds": "apiVersion: v1\nkind: Namespace\nmetadata: {name: crds}\n",
        "envoy-gateway-manifests": objects,
    }
    files = []
    for name, text in texts.items():
        digest = name[0].encode().hex() * 32
        (blobs / digest).write_text(text)
        files.append(artifact("file", name, digest))
    images = [
        artifact("image", name, "ab" * 32, f"docker.io/envoyproxy/{name}:1") for name in ("envoy", "envoy-gateway")
    ]
    return BundleLock.of("test", [*lock.artifacts, *files, *images])


def artifact(kind: Literal["file", "image"], name: str, digest: str, ref: str | None = None) -> LockedArtifact:
    return LockedArtifact(kind=kind, name=name, version="1", source="s", sha256=digest, size=1, licence="MIT", ref=ref)


def test_the_first_apply_makes_a_certificate_and_a_key_and_the_second_changes_nothing(
    cluster: Cluster, api: FakeApi, inventory: Inventory, whole_lock: BundleLock
) -> None:
    first = gateway.apply(cluster, inventory, whole_lock, NullProgress())
    assert f"Gateway {NAMESPACE}/llmprov" in first.created
    before = {name: secret(api, name) for name in (CA_SECRET, TLS_SECRET, KEYS_SECRET)}
    assert before[KEYS_SECRET].keys() == {"default"}
    assert b"BEGIN CERTIFICATE" in before[TLS_SECRET]["tls.crt"]
    assert gateway.apply(cluster, inventory, whole_lock, NullProgress()).changes == 0
    assert {name: secret(api, name) for name in before} == before
    assert gateway.present(cluster)


def test_a_plan_makes_nothing_and_after_an_install_has_nothing_to_do(
    cluster: Cluster, api: FakeApi, inventory: Inventory, whole_lock: BundleLock
) -> None:
    def plan() -> list[str]:
        found, _ = plan_objects(cluster, inventory, whole_lock, ("gateway",), NullProgress())
        return [f"{item.action} {item.label}" for item in found]

    assert f"create Secret {NAMESPACE}/{TLS_SECRET}" in plan()
    assert api.objects == {}
    gateway.apply(cluster, inventory, whole_lock, NullProgress())
    assert plan() == []
    api.remove(("v1/secrets", NAMESPACE, TLS_SECRET))
    before = copy.deepcopy(api.objects)
    assert plan() == [f"create Secret {NAMESPACE}/{TLS_SECRET}"]
    assert api.objects == before


def test_a_revoked_default_key_does_not_come_back_and_an_interrupted_first_one_does(
    cluster: Cluster, api: FakeApi, inventory: Inventory, whole_lock: BundleLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(gateway_keys, "add_key", lambda *_: (_ for _ in ()).throw(ClusterError("cut off")))
        with pytest.raises(ClusterError, match="cut off"):
            gateway.apply(cluster, inventory, whole_lock, NullProgress())
    gateway.apply(cluster, inventory, whole_lock, NullProgress())
    assert secret(api, KEYS_SECRET).keys() == {"default"}
    cluster.merge(SECRET, KEYS_SECRET, {"data": {"default": None}}, namespace=NAMESPACE)
    gateway.apply(cluster, inventory, whole_lock, NullProgress())
    assert secret(api, KEYS_SECRET) == {}
    with pytest.raises(ClusterError, match="no API key"):
        gateway_keys.any_key(cluster)


def test_a_certificate_is_renewed_when_it_ends_and_when_a_node_comes(
    cluster: Cluster, api: FakeApi, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored() -> bytes:
        for item in gateway_secrets.tls_secrets(cluster, inventory):
            api.put(item)  # type: ignore[arg-type]
        return secret(api, TLS_SECRET)["tls.crt"]

    first = stored()
    assert stored() == first
    authority = secret(api, CA_SECRET)

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(days=380)

    with monkeypatch.context() as patch:
        patch.setattr(gateway_secrets, "datetime", Later)
        assert stored() != first
    assert secret(api, CA_SECRET) == authority, "clients that trust it go on doing so"
    second = stored()
    inventory = inventory.model_copy(
        update={"settings": inventory.settings.model_copy(update={"gateway_host": "llm.example.org"})}
    )
    assert stored() != second


def test_an_operators_own_certificate(cluster: Cluster, inventory: Inventory, tmp_path: Path) -> None:
    own = issue(make_authority("x", datetime.now(UTC)), ["llm.example.org"], datetime.now(UTC))
    (tmp_path / "own.pem").write_bytes(own.certificate)
    settings = {"gateway_tls_certificate": "own.pem", "gateway_tls_key": "own.key"}
    theirs = inventory.model_copy(update={"settings": inventory.settings.model_copy(update=settings)})
    with pytest.raises(InventoryError, match="cannot be read"):
        gateway_secrets.tls_secrets(cluster, theirs)
    (tmp_path / "own.key").write_bytes(own.key)
    [only] = gateway_secrets.tls_secrets(cluster, theirs)
    assert b64decode(only["data"]["tls.crt"]) == own.certificate  # type: ignore[index]
    with pytest.raises(ClusterError, match="operator's own"):
        gateway_access.certificate_authority(theirs)


@pytest.fixture
def _verbs(inventory: Inventory, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(_inventory: Inventory, *, patience: float = 1.0) -> Iterator[Cluster]:
        assert patience
        yield cluster

    for verb in (gateway_verb, key_verb):
        monkeypatch.setattr(verb, "load", lambda _: inventory)
    for workflow in (gateway_keys, gateway_access, chat):
        monkeypatch.setattr(workflow, "open_cluster", opened)


def invoke(*words: str) -> str:
    result = CliRunner().invoke(app, [*words, "-i", "x"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.mark.usefixtures("_verbs")
def test_keys_are_created_listed_shown_and_revoked(
    cluster: Cluster, inventory: Inventory, whole_lock: BundleLock
) -> None:
    with pytest.raises(ClusterError, match="no gateway"):
        invoke("key", "list")
    with pytest.raises(ClusterError, match="no gateway"):
        invoke("gateway", "ca")
    gateway.apply(cluster, inventory, whole_lock, NullProgress())
    made = invoke("key", "create", "team-a").strip()
    assert made.startswith("sk-llmprov-")
    assert len(made) > 40
    assert invoke("key", "show", "team-a").strip() == made
    assert json.loads(invoke("key", "show", "team-a", "--json"))["key"] == made
    listed = json.loads(invoke("key", "list", "--json"))
    assert [key["name"] for key in listed] == ["default", "team-a"]
    assert all(key["created"] for key in listed)
    assert made not in invoke("key", "list")
    with pytest.raises(ClusterError, match="already"):
        invoke("key", "create", "team-a")
    for bad in ("Team", "a b", "-a", "x" * 64):
        with pytest.raises(ClusterError, match="cannot be the name"):
            gateway_keys.create(inventory, bad)
    invoke("key", "revoke", "team-a")
    with pytest.raises(ClusterError, match="did you mean"):
        invoke("key", "revoke", "defaul")
    assert [key["name"] for key in json.loads(invoke("key", "list", "--json"))] == ["default"]
    assert "BEGIN CERTIFICATE" in invoke("gateway", "ca")
    assert invoke("gateway", "address").strip() == "https://127.0.0.1:30443/v1"


def on(port: int, inventory: Inventory) -> Inventory:
    return inventory.model_copy(update={"settings": inventory.settings.model_copy(update={"gateway_port": port})})


def error(code: str, message: str = "x") -> list[bytes]:
    return [json.dumps({"error": {"message": message, "code": code}}).encode()]


def test_waiting_ends_when_the_gateway_answers_as_it_should(
    cluster: Cluster,
    api: FakeApi,
    inventory: Inventory,
    whole_lock: BundleLock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway.apply(cluster, inventory, whole_lock, NullProgress())
    monkeypatch.setattr(gateway, "_PAUSE", 0.01)
    monkeypatch.setattr(gateway, "wait_rolled_out", lambda *_: None)
    api.put(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "llmprov-gateway", "namespace": NAMESPACE}}
    )
    key = secret(api, KEYS_SECRET)["default"].decode()
    seen: list[str] = []

    def reply(authorization: str, body: dict[str, Any]) -> tuple[int, list[bytes]]:
        seen.append(authorization)
        if len(seen) < 3:
            return 503, [b"no healthy upstream"]
        if authorization != f"Bearer {key}":
            return 401, error("invalid_api_key")
        if body["model"] == "m":
            return 200, [b'{"choices": [{}]}']
        return 404, error("model_not_found", body["model"])

    with proxies(api, reply, tmp_path) as port:
        gateway.wait(cluster, on(port, inventory), NullProgress())
        gateway.wait_models(cluster, on(port, inventory), NullProgress())
    assert {"", f"Bearer {key}"} == set(seen)


def test_waiting_says_what_is_wrong(
    cluster: Cluster,
    api: FakeApi,
    inventory: Inventory,
    whole_lock: BundleLock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway.apply(cluster, inventory, whole_lock, NullProgress())
    monkeypatch.setattr(gateway, "_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(gateway, "_PAUSE", 0.01)
    with (
        proxies(api, lambda *_: (404, error("model_not_found")), tmp_path) as port,
        pytest.raises(ClusterError, match="m: 404"),
    ):
        gateway.wait_models(cluster, on(port, inventory), NullProgress())
    monkeypatch.setattr(gateway, "_SECONDS", 0.1)
    monkeypatch.setattr(gateway, "wait_rolled_out", lambda *_: None)
    with pytest.raises(ClusterError, match="does not start any proxies"):
        gateway.wait(cluster, inventory, NullProgress())


def test_a_certificate_of_somebody_else_is_not_trusted(
    cluster: Cluster, api: FakeApi, inventory: Inventory, whole_lock: BundleLock, tmp_path: Path
) -> None:
    gateway.apply(cluster, inventory, whole_lock, NullProgress())
    other = certificates.make_authority("other", datetime.now(UTC))
    with proxies(api, lambda *_: (200, [b"{}"]), tmp_path) as port:
        stored = api.objects["v1/secrets", NAMESPACE, CA_SECRET]
        api.put({**stored, "data": gateway_secrets._tls(CA_SECRET, other)["data"]})
        with (
            open_gateway(cluster, on(port, inventory)) as client,
            pytest.raises(urllib3.exceptions.SSLError, match="certificate verify failed"),
            client.exchange("POST", "/v1/x", body={}),
        ):
            pytest.fail("it was trusted")


@pytest.mark.usefixtures("_verbs")
def test_chat_goes_through_the_gateway(
    cluster: Cluster, api: FakeApi, inventory: Inventory, whole_lock: BundleLock, tmp_path: Path
) -> None:
    gateway.apply(cluster, inventory, whole_lock, NullProgress())
    put_model(api)
    usage = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2})

    def reply(_authorization: str, body: dict[str, Any]) -> tuple[int, list[bytes]]:
        assert body["stream"]
        return 200, [piece("Par"), piece("is", "stop"), usage, b"data: [DONE]\n"]

    with proxies(api, reply, tmp_path) as port:
        answer = chat.ask(on(port, inventory), chat.Question("m", "?"), lambda _: None)
    assert (answer.text, answer.completion_tokens) == ("Paris", 2)
