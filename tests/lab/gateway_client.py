"""Requests to the gateway that tests send, and what they expect of a refusal."""

import asyncio
from http import HTTPStatus

import httpx2

from tests.lab.conftest import KUBECTL, Lab
from tests.load.client import Endpoint

CHAT = "/chat/completions"


def error_of(response: httpx2.Response, status: HTTPStatus) -> str:
    """Check that a refusal has OpenAI's shape, and return its code."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return str(error["code"])


def question(model: str) -> dict[str, object]:
    ask = {"role": "user", "content": "What is the capital of France?"}
    return {"model": model, "messages": [ask], "max_tokens": 16, "temperature": 0}


def tokens(lab: Lab, model: str) -> float:
    """How many tokens the engine has generated."""
    path = f"/api/v1/namespaces/llmprov-models/services/{model}:http/proxy/metrics"
    text = lab.ssh("cp1", f"{KUBECTL} get --raw {path}")
    lines = [line for line in text.splitlines() if line.startswith("vllm:generation_tokens_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def burst(endpoint: Endpoint, model: str, size: int) -> list[httpx2.Response]:
    """Send requests at the same time."""
    async with httpx2.AsyncClient(verify=endpoint.context(), trust_env=False, timeout=120) as client:
        headers = {"Authorization": f"Bearer {endpoint.key}"}
        sent = (client.post(endpoint.url + CHAT, headers=headers, json=question(model)) for _ in range(size))
        return list(await asyncio.gather(*sent))
