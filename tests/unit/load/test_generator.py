"""The load generator must notice every way in which an answer can be less than whole."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from tests.load.client import Endpoint
from tests.load.generator import Plan, Report, run

TOKENS = 3
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def chunk(text: str = "", finish: str | None = None, model: str = "m") -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return event({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]})


def usage(tokens: int = TOKENS, model: str = "m") -> bytes:
    counted = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens}
    return event(
        {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [], "usage": counted}
    )


def event(document: object) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def stream(*pieces: bytes, cut: bool = False) -> Answer:
    """Answer with a chunked stream; a cut one lacks its last chunk."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        writer.write(b"" if cut else b"0\r\n\r\n")
        await writer.drain()

    return answer


def whole(text: str = "abc", tokens: int = TOKENS, status: int = 200) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        counted = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens}
        document = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        body = json.dumps({**document, "usage": counted}).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


async def hang_up(_writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""


async def silent(_writer: asyncio.StreamWriter) -> None:
    """Keep the client waiting for longer than it wants to."""
    await asyncio.sleep(0.3)


def sent(answer: Answer, *, streamed: float = 1.0, requests: int = 2, timeout: float = 5.0) -> Report:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        await reader.readexactly(length)
        await answer(writer)
        writer.close()

    async def everything() -> Report:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = Plan(["m"], concurrency=2, tokens=TOKENS, streamed=streamed, timeout=timeout)
        async with server:
            return await run(
                Endpoint(f"http://127.0.0.1:{port}/v1"), settings, asyncio.Event(), Report(), requests=requests
            )

    return asyncio.run(everything())


@pytest.mark.parametrize(
    ("answer", "streamed"),
    [(stream(chunk("a"), chunk("b"), chunk("c", "length"), usage(), DONE), 1.0), (whole(), 0.0)],
)
def test_whole_answers_count_as_such(answer: Answer, streamed: float) -> None:
    report = sent(answer, streamed=streamed)
    assert (len(report.outcomes), report.failures, report.slow) == (2, [], 0)
    assert (report.quantile(0.5) > 0) == bool(streamed)


@pytest.mark.parametrize(
    ("answer", "streamed", "reason"),
    [
        (stream(chunk("a"), cut=True), 1.0, "cut"),
        (stream(chunk("a"), chunk("b")), 1.0, "cut"),
        (stream(chunk("a"), chunk("b", "length"), DONE), 1.0, "cut"),
        (stream(chunk("a", "stop"), usage(2), DONE), 1.0, "short"),
        (stream(chunk("", "length"), usage(), DONE), 1.0, "empty"),
        (stream(chunk("a", "length", model="other"), usage(model="other"), DONE), 1.0, "model"),
        (stream(event({"error": {"message": "engine died"}})), 1.0, "cut"),
        (whole(tokens=2), 0.0, "short"),
        (whole(text=" "), 0.0, "empty"),
        (whole(status=503), 0.0, "status 503"),
        (whole(status=503), 1.0, "status 503"),
        (hang_up, 1.0, "connection"),
    ],
)
def test_every_failure_is_noticed(answer: Answer, streamed: float, reason: str) -> None:
    report = sent(answer, streamed=streamed, requests=1)
    assert report.reasons == {reason: 1}, report.failures


def test_silence_is_noticed() -> None:
    assert sent(silent, requests=1, timeout=0.1).reasons == {"timeout": 1}
