"""The gateway as clients meet it: the stock `openai` client, every refusal, and a proxy that goes away under load."""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import httpx2
import openai
import pytest

from llmprov.manifests.gateway import NAMESPACE, PROXY_LABELS, SERVICE
from tests.lab.conftest import KUBECTL, Installed, Lab
from tests.lab.gateway_client import CHAT, burst, error_of, question, tokens
from tests.lab.polling import until
from tests.load.__main__ import endpoint_of
from tests.load.client import Endpoint, inside, lab_network
from tests.load.generator import Plan
from tests.load.running import load

pytestmark = pytest.mark.lab
PROXIES = ",".join(f"{key}={value}" for key, value in PROXY_LABELS.items())
Post = Callable[..., httpx2.Response]


@pytest.fixture(scope="module")
def lab(installed: Installed) -> Lab:
    return installed.lab


@pytest.fixture(scope="module")
def endpoint(lab: Lab) -> Endpoint:
    return endpoint_of(lab.inventory, lab.environment)


@pytest.fixture(autouse=True)
def _inside(lab: Lab) -> Iterator[None]:
    """Clients are in the lab's network, beside the hosts."""
    with inside(lab_network(lab.inventory)):
        yield


@pytest.fixture(scope="module")
def models(lab: Lab) -> list[str]:
    found: list[str] = []

    def ready() -> bool:
        states = lab.llmprov("status", "-i", str(lab.inventory), "--json", check=False).json["models"]
        found[:] = [model["name"] for model in states if model["ready"]]
        return len(found) == len(states) > 0

    until(ready, seconds=300, what="a replica of each model")
    return found


@pytest.fixture
def post(endpoint: Endpoint) -> Iterator[Post]:
    with httpx2.Client(verify=endpoint.context(), trust_env=False, timeout=60) as client:

        def send(path: str, *, key: str | None = endpoint.key, **request: object) -> httpx2.Response:
            own = {"Authorization": f"Bearer {key}"} if key is not None else {}
            extra = request.pop("headers", {})
            assert isinstance(extra, dict)
            return client.post(endpoint.url + path, headers={**own, **extra}, **request)  # type: ignore[arg-type]

        yield send


def test_the_stock_client_gets_an_answer_from_each_model_by_its_name(endpoint: Endpoint, models: list[str]) -> None:
    assert models
    with endpoint.client() as client:
        assert sorted(model.id for model in client.models.list()) == sorted(models)
        for model in models:
            assert client.models.retrieve(model).id == model
            answer = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "What is the capital of France?"}],
                max_tokens=16,
                temperature=0,
            )
            assert answer.model == model
            assert "Paris" in (answer.choices[0].message.content or "")


def test_the_stock_client_streams(endpoint: Endpoint, models: list[str]) -> None:
    with endpoint.client() as client:
        for model in models:
            stream = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "What is the capital of France?"}],
                max_tokens=16,
                temperature=0,
                stream=True,
            )
            chunks = list(stream)
            text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
            assert "Paris" in text
            assert len(chunks) > 3, "it came in one piece"
            assert {chunk.model for chunk in chunks} == {model}


def test_curl(endpoint: Endpoint, models: list[str], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    (tmp_path / "ca.pem").write_text(endpoint.authority)
    (tmp_path / "header").write_text(f"Authorization: Bearer {endpoint.key}")
    command = ["curl", "-sS", "--fail", "--cacert", str(tmp_path / "ca.pem"), "-H", f"@{tmp_path / 'header'}"]
    command += ["--noproxy", "*", "--json", json.dumps(question(models[0])), endpoint.url + CHAT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout


def test_without_a_key_and_with_a_wrong_one(endpoint: Endpoint, post: Post, models: list[str]) -> None:
    for key in (None, "sk-wrong", endpoint.key[:-1], endpoint.key + "x"):
        assert error_of(post(CHAT, key=key, json=question(models[0])), HTTPStatus.UNAUTHORIZED) == "invalid_api_key"
    basic = post(CHAT, key=None, headers={"Authorization": "Basic eDp5"}, json=question(models[0]))
    assert error_of(basic, HTTPStatus.UNAUTHORIZED) == "invalid_api_key"
    with endpoint.client(key="sk-wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_an_unknown_model(endpoint: Endpoint, post: Post) -> None:
    response = post(CHAT, json=question("gpt-5"))
    assert error_of(response, HTTPStatus.NOT_FOUND) == "model_not_found"
    assert "gpt-5" in response.json()["error"]["message"]
    assert error_of(post(CHAT, json=question("a b")), HTTPStatus.NOT_FOUND) == "model_not_found"
    with endpoint.client() as client:
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="gpt-5", messages=[])
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("gpt-5")
        assert caught.value.code == "model_not_found"


def test_the_header_of_the_routing_cannot_be_given_by_a_client(post: Post, models: list[str]) -> None:
    own = {"x-llmprov-model": models[0], "x-llmprov-client": "admin"}
    assert error_of(post(CHAT, json=question("gpt-5"), headers=own), HTTPStatus.NOT_FOUND) == "model_not_found"
    body = {**question("gpt-5"), "metadata": {"model": models[0]}, "user": f'","model":"{models[0]}'}
    assert error_of(post(CHAT, json=body), HTTPStatus.NOT_FOUND) == "model_not_found"


@pytest.mark.parametrize("body", [b"", b"hello", b'{"model": "x"', b"[1]", b'{"messages": []}', b'{"model": 5}'])
def test_a_malformed_body(post: Post, body: bytes) -> None:
    response = post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert error_of(response, HTTPStatus.BAD_REQUEST) in {"invalid_json", "missing_required_parameter", "invalid_type"}


def test_a_body_of_ten_megabytes_and_one_that_fits(post: Post, models: list[str]) -> None:
    body = {**question(models[0]), "user": "x" * 10_000_000}
    assert error_of(post(CHAT, json=body), HTTPStatus.REQUEST_ENTITY_TOO_LARGE) == "request_too_large"
    fits = post(CHAT, json={**question(models[0]), "user": "x" * 4_000_000})
    assert fits.status_code == HTTPStatus.OK


def test_what_is_not_for_clients(post: Post, endpoint: Endpoint) -> None:
    root = endpoint.url.removesuffix("/v1")
    with httpx2.Client(verify=endpoint.context(), trust_env=False) as client:
        for path in ("/metrics", "/health", "/v1/load_lora_adapter", "/v1/../metrics", "/"):
            response = client.get(root + path, headers={"Authorization": f"Bearer {endpoint.key}"})
            assert error_of(response, HTTPStatus.NOT_FOUND) == "unknown_url"
    assert error_of(post("/load_lora_adapter", json={"model": "x"}), HTTPStatus.NOT_FOUND) == "unknown_url"


def test_plain_http_and_old_tls_are_refused(endpoint: Endpoint) -> None:
    url = httpx2.URL(endpoint.url)
    with socket.create_connection((url.host, url.port or 443), timeout=10) as plain:
        plain.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(100) == b""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection((url.host, url.port or 443), timeout=10) as raw, pytest.raises(ssl.SSLError):
        old.wrap_socket(raw)


def test_every_node_answers(lab: Lab, endpoint: Endpoint) -> None:
    addresses = [
        host["address"] for host in lab.llmprov("status", "-i", str(lab.inventory), "--json", check=False).json["hosts"]
    ]
    assert len(addresses) > 1
    for address in addresses:
        url = httpx2.URL(endpoint.url).copy_with(host=address)
        found = httpx2.get(
            f"{url}/models",
            headers={"Authorization": f"Bearer {endpoint.key}"},
            verify=endpoint.context(),
            trust_env=False,
        )
        assert found.status_code == HTTPStatus.OK


def test_a_client_that_hangs_up_frees_its_request(lab: Lab, endpoint: Endpoint, models: list[str]) -> None:
    """Tokens are counted, not running requests: an engine without work does not update that number."""
    asked = 1900
    body = {**question(models[0]), "max_tokens": asked, "stream": True, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {endpoint.key}"}
    before = tokens(lab, models[0])
    with (
        httpx2.Client(verify=endpoint.context(), trust_env=False) as client,
        client.stream("POST", endpoint.url + CHAT, json=body, headers=headers) as response,
    ):
        assert next(response.iter_bytes())
        until(lambda: tokens(lab, models[0]) > before, seconds=30, what="the engine to count tokens")
    seen = [tokens(lab, models[0])]

    def idle() -> bool:
        seen.append(tokens(lab, models[0]))
        return seen[-1] == seen[-2]

    until(idle, seconds=30, what="the engine to drop the request")
    assert 0 < seen[-1] - before < asked


def test_a_full_model_says_when_to_come_back(lab: Lab, endpoint: Endpoint, models: list[str]) -> None:
    limits = ("maxParallelRequests", "maxPendingRequests", "maxConnections")
    policy = f"{KUBECTL} -n llmprov-models %s backendtrafficpolicy {models[0]}"
    before = json.loads(lab.ssh("cp1", policy % "get" + " -o json"))["spec"]["circuitBreaker"]

    def limit(values: dict[str, int]) -> None:
        patch = json.dumps({"spec": {"circuitBreaker": values}})
        lab.ssh("cp1", policy % "patch" + f" --type merge -p '{patch}'")

    found: list[httpx2.Response] = []

    def refuses() -> bool:
        found[:] = [one for one in asyncio.run(burst(endpoint, models[0], 8)) if one.status_code != HTTPStatus.OK]
        return bool(found)

    try:
        limit(dict.fromkeys(limits, 1))
        until(refuses, seconds=60, what="the first request that is one too many")
    finally:
        limit({name: before[name] for name in limits})
    refusals = tuple(found)
    # Each burst reaches one proxy or the other.
    until(lambda: not any(refuses() for _ in range(5)), seconds=90, what="both proxies to learn of the old limit")
    for answer in refusals:
        assert error_of(answer, HTTPStatus.SERVICE_UNAVAILABLE) == "service_unavailable"
        assert int(answer.headers["retry-after"]) > 0


def test_keys_come_and_go(lab: Lab, endpoint: Endpoint, models: list[str]) -> None:
    inventory = str(lab.inventory)
    made = lab.llmprov("key", "create", "team-a", "-i", inventory).stdout.strip()
    try:
        assert lab.llmprov("key", "show", "team-a", "-i", inventory).stdout.strip() == made
        listed = lab.llmprov("key", "list", "-i", inventory, "--json")
        assert "team-a" in {key["name"] for key in listed.json}
        assert made not in listed.stdout
        assert lab.llmprov("key", "create", "team-a", "-i", inventory, check=False).exit_code == 8
        with endpoint.client(key=made) as client:
            until(lambda: accepted(client, models[0]), seconds=30, what="the new key to be taken")
    finally:
        lab.llmprov("key", "revoke", "team-a", "-i", inventory)
    with endpoint.client(key=made) as client:
        until(lambda: not accepted(client, models[0]), seconds=30, what="the revoked key to be refused")
    assert lab.llmprov("key", "show", "team-a", "-i", inventory, check=False).exit_code == 8


def accepted(client: openai.OpenAI, model: str) -> bool:
    """Whether the gateway takes the client's key, for this model."""
    try:
        return client.models.retrieve(model).id == model
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        return False


@contextmanager
def limited(lab: Lab, endpoint: Endpoint, model: str) -> Iterator[Endpoint]:
    """Make a key that may use one model, and wait until the proxies know it."""
    inventory = str(lab.inventory)
    key = lab.llmprov("key", "create", "limited", "--model", model, "-i", inventory).stdout.strip()
    try:
        own = replace(endpoint, key=key)
        everywhere(lambda: allowed(own, model), "the new key to be taken")
        yield own
    finally:
        lab.llmprov("key", "revoke", "limited", "-i", inventory)


def allowed(endpoint: Endpoint, model: str) -> bool:
    """Whether the key may use a model, asked by a connection of its own."""
    with endpoint.client() as client:
        return accepted(client, model)


def everywhere(holds: Callable[[], bool], what: str) -> None:
    """Wait until it holds several times on end: new connections reach one proxy or the other."""
    until(lambda: all(holds() for _ in range(6)), seconds=60, what=what)


def allow(lab: Lab, *words: str) -> None:
    """Change what the limited key may use."""
    lab.llmprov("key", "allow", "limited", *words, "-i", str(lab.inventory))


def test_a_key_may_use_only_its_models(lab: Lab, endpoint: Endpoint, post: Post, models: list[str]) -> None:
    own, other = models[:2]
    with limited(lab, endpoint, own) as mine, mine.client() as client:
        listed = lab.llmprov("key", "list", "-i", str(lab.inventory), "--json").json
        assert {key["name"]: key["models"] for key in listed}["limited"] == [own]
        assert post(CHAT, key=mine.key, json=question(own)).status_code == HTTPStatus.OK
        before = tokens(lab, other)
        for body in (question(other), {**question(other), "stream": True}, {**question(own), "model": "gpt-5"}):
            assert error_of(post(CHAT, key=mine.key, json=body), HTTPStatus.FORBIDDEN) == "model_not_allowed"
        own_header = {"x-llmprov-client": "default", "x-llmprov-model": other}
        refused = post(CHAT, key=mine.key, json=question(other), headers=own_header)
        assert error_of(refused, HTTPStatus.FORBIDDEN) == "model_not_allowed"
        assert tokens(lab, other) == before
        assert [model.id for model in client.models.list()] == [own]
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.models.retrieve(other)
        assert caught.value.code == "model_not_allowed"
        stream = client.chat.completions.create(
            model=own, messages=[{"role": "user", "content": "Hello"}], max_tokens=8, stream=True
        )
        assert {chunk.model for chunk in stream} == {own}


def test_what_a_key_may_use_is_changed_without_a_cut_request(lab: Lab, endpoint: Endpoint, models: list[str]) -> None:
    own, other = models[:2]
    with limited(lab, endpoint, own) as mine:
        before = pods(lab)
        with (
            load(endpoint, Plan([other], concurrency=1, tokens=60), lab_network(lab.inventory)) as theirs,
            load(mine, Plan([own], concurrency=1), lab_network(lab.inventory)) as running,
        ):
            until(lambda: bool(running.outcomes), seconds=120, what="the first answer")
            allow(lab, "--all")
            everywhere(lambda: allowed(mine, other), "the other model to be allowed")
            allow(lab, "--model", own)
            everywhere(lambda: not allowed(mine, other), "the other model to be forbidden")
            allow(lab, "--model", own, "--model", other)
            everywhere(lambda: allowed(mine, other), "the other model to be allowed")
            with mine.client() as client:
                assert sorted(model.id for model in client.models.list()) == sorted(models[:2])
            count = len(running.outcomes), len(theirs.outcomes)
            until(
                lambda: len(running.outcomes) > count[0] and len(theirs.outcomes) > count[1],
                seconds=180,
                what="answers after the changes",
            )
    assert running.report.failures == []
    assert theirs.report.failures == []
    assert pods(lab) == before


def test_chat_goes_through_the_gateway(lab: Lab, models: list[str]) -> None:
    answer = lab.llmprov("chat", models[0], "What is the capital of France?", "-i", str(lab.inventory), "--json")
    assert "Paris" in answer.json["text"]

    def logs() -> str:
        return lab.ssh("cp1", f"{KUBECTL} logs -n {NAMESPACE} -l {PROXIES} -c envoy --since=120s --tail=500")

    def logged() -> bool:
        seen = [json.loads(line) for line in logs().splitlines() if line.startswith("{")]
        mine = [line for line in seen if line.get("model") == models[0] and line.get("client") == "default"]
        return any(line["status"] in {200, "200"} for line in mine)

    until(logged, seconds=60, what="the proxy to write its log: it does so every ten seconds")
    assert endpoint_key_is_not_in(logs(), lab)


def endpoint_key_is_not_in(text: str, lab: Lab) -> bool:
    """Logs hold no keys."""
    return lab.llmprov("key", "show", "default", "-i", str(lab.inventory)).stdout.strip() not in text


def test_a_proxy_that_is_restarted_cuts_nothing(
    lab: Lab, endpoint: Endpoint, models: list[str], tmp_path: Path
) -> None:
    plan = Plan(models, concurrency=4, tokens=24)
    with load(endpoint, plan, lab_network(lab.inventory)) as running:
        until(lambda: len(running.outcomes) > 3, seconds=120, what="the first answers")
        before = pods(lab)
        for pod in sorted(before):
            lab.ssh("cp1", f"{KUBECTL} delete pod -n {NAMESPACE} {pod} --wait=false")
            until(lambda pod=pod: pod not in pods(lab), seconds=300, what=f"{pod} to be gone")  # type: ignore[misc]
            lab.ssh("cp1", f"{KUBECTL} rollout status -n {NAMESPACE} deployment/{SERVICE} --timeout=120s")
        count = len(running.outcomes)
        until(lambda: len(running.outcomes) > count + 3, seconds=120, what="answers by the new proxies")
    (tmp_path / "report.json").write_text(json.dumps(running.report.summary()))
    assert not before & pods(lab)
    assert running.report.failures == []


def pods(lab: Lab) -> set[str]:
    """Names of the proxies' pods."""
    return set(lab.ssh("cp1", f"{KUBECTL} get pods -n {NAMESPACE} -l {PROXIES} -o name | sed s,pod/,,").split())
