"""Asks a model a question: through the gateway, or, where there is none, through the API server's service proxy.

Either way through SSH: no port of the cluster has to be open to the controller.
"""

import difflib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import urllib3
from pydantic import BaseModel, ConfigDict, ValidationError

from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import DEPLOYMENT
from llmprov.cluster.problems import parse_status
from llmprov.cluster.transport import Response
from llmprov.cluster.workloads import Deployment
from llmprov.errors import ModelError
from llmprov.inventory import Inventory
from llmprov.manifests.model import NAMESPACE
from llmprov.states import Answer
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.gateway_access import present
from llmprov.workflows.gateway_client import GatewayClient, open_gateway

SERVED_NAME = "llmprov.io/served-name"
_ANSWER_SECONDS = 300.0
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Question:
    """One request; `model` is the model's name or the name it is served under."""

    model: str
    prompt: str
    system: str = ""
    max_tokens: int = 256
    temperature: float = 0.0


def ask(inventory: Inventory, question: Question, on_text: Callable[[str], None]) -> Answer:
    """Ask a model and pass its answer on as it comes.

    Raises:
        ModelError: there is no such model, none of its replicas is ready, or it refused the request.
        ClusterError: the Kubernetes API does not answer.
    """
    with open_cluster(inventory, patience=_PATIENCE) as cluster:
        if not present(cluster):
            return ask_cluster(cluster, question, on_text)
        with open_gateway(cluster, inventory) as gateway:
            return ask_cluster(cluster, question, on_text, gateway)


def ask_cluster(
    cluster: Cluster, question: Question, on_text: Callable[[str], None], gateway: GatewayClient | None = None
) -> Answer:
    """Ask a model of an open cluster, through its gateway where that is given."""
    deployment = _find(cluster, question.model)
    name = deployment.metadata.name
    served = deployment.metadata.annotations.get(SERVED_NAME, name)
    path = "/v1/chat/completions"
    if gateway is None:
        path = f"/api/v1/namespaces/{NAMESPACE}/services/{name}:http/proxy{path}"
    collected = _Collected(on_text)
    way = gateway or cluster
    try:
        with way.exchange("POST", path, body=_body(question, served), read_timeout=_ANSWER_SECONDS) as response:
            if response.status != HTTPStatus.OK:
                raise _refused(name, response)
            for event in _events(response):
                collected.take(event)
    except urllib3.exceptions.HTTPError as error:
        raise ModelError(
            f"{name} stopped in the middle of its answer: {error}",
            remedy="ask again; if it stays like this, see `llmprov status`",
        ) from error
    return collected.answer(served)


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Delta(_Wire):
    content: str | None = None


class _Choice(_Wire):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Usage(_Wire):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Failed(_Wire):
    message: str = ""


class _Event(_Wire):
    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    error: _Failed | None = None


class _Collected:
    """Adds up a streamed answer."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._started = time.monotonic()
        self._first: float | None = None
        self._text: list[str] = []
        self._usage = _Usage()
        self._finish = ""

    def take(self, event: _Event) -> None:
        if event.error is not None:
            raise ModelError(
                f"the engine gave up: {event.error.message}", remedy="see its log: kubectl logs, or llmprov status"
            )
        self._usage = event.usage or self._usage
        for choice in event.choices:
            self._finish = choice.finish_reason or self._finish
            if choice.delta.content:
                self._first = self._first or time.monotonic()
                self._text.append(choice.delta.content)
                self._on_text(choice.delta.content)

    def answer(self, model: str) -> Answer:
        now = time.monotonic()
        return Answer(
            model=model,
            text="".join(self._text),
            prompt_tokens=self._usage.prompt_tokens,
            completion_tokens=self._usage.completion_tokens,
            finish_reason=self._finish,
            first_token_seconds=round((self._first or now) - self._started, 3),
            seconds=round(now - self._started, 3),
        )


def _find(cluster: Cluster, wanted: str) -> Deployment:
    listed = cluster.list(DEPLOYMENT, NAMESPACE, selector="llmprov.io/model").items
    found = {item.metadata.name: item for item in (Deployment.model_validate(item) for item in listed)}
    names = {item.metadata.annotations.get(SERVED_NAME, item.metadata.name): item for item in found.values()}
    deployment = found.get(wanted) or names.get(wanted)
    if deployment is None:
        known = sorted({*found, *names})
        close = difflib.get_close_matches(wanted, known, n=1)
        raise ModelError(
            f"there is no model {wanted!r} in the cluster" + (f"; did you mean {close[0]!r}?" if close else ""),
            remedy="add a file to the inventory's models directory and run `llmprov install`",
            details=tuple(f"served: {name}" for name in known),
        )
    if deployment.status.ready_replicas == 0:
        raise ModelError(
            f"model {deployment.metadata.name} has no ready replica (0 of {deployment.spec.replicas})",
            remedy="wait for it, or see why with `llmprov status`",
        )
    return deployment


def _body(question: Question, served: str) -> Mapping[str, object]:
    system = [{"role": "system", "content": question.system}] if question.system else []
    return {
        "model": served,
        "messages": [*system, {"role": "user", "content": question.prompt}],
        "max_tokens": question.max_tokens,
        "temperature": question.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _events(response: Response) -> Iterator[_Event]:
    """Read server-sent events: lines `data: JSON`, the last one `data: [DONE]`."""
    buffer = b""
    for piece in response.stream():
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            data = line.strip().removeprefix(b"data:").strip()
            if line.startswith(b"data:") and data != b"[DONE]":
                yield _parsed(data)


def _parsed(data: bytes) -> _Event:
    try:
        return _Event.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(
            f"the engine's answer is not one: {data[:200].decode(errors='replace')}",
            remedy="is the engine image vLLM? see engine.image in the model's file",
        ) from error


def _refused(name: str, response: Response) -> ModelError:
    body = response.read()
    try:
        message = _Event.model_validate_json(body).error
    except ValidationError:
        message = None
    reason = message.message if message and message.message else parse_status(body).message
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return ModelError(
            f"model {name} cannot be reached: {reason}", remedy="wait for a replica to be ready: llmprov status"
        )
    return ModelError(
        f"model {name} refused the request (HTTP {response.status}): {reason}", remedy="change the request"
    )
