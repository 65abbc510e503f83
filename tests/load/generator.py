"""Sends requests with the stock `openai` client and checks every answer to its end.

An answer is whole when its stream ended as it should, it names the model that was asked for, it has text, and the
engine counted exactly the tokens that were ordered (the engine is told to ignore the end of a text).
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import httpx2
import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.load.client import Endpoint

_PROMPTS = (
    "Name the capital of France and say why people like it.",
    "Count from one to twenty in words.",
    "Write two sentences about the sea.",
    "Explain to a child what a computer does.",
)


@dataclass(frozen=True)
class Plan:
    """What to send.

    Attributes:
        models: asked in turn.
        concurrency: requests at a time.
        tokens: of every answer.
        streamed: share of requests that stream, 0 to 1.
        slow_seconds: until the first token; a later one makes a request slow, not failed.
        timeout: seconds until an answer must have gone on.
        keep_alive: reuse connections, as clients do; otherwise a new one for each request.
    """

    models: Sequence[str]
    concurrency: int = 4
    tokens: int = 24
    streamed: float = 0.75
    slow_seconds: float = 10.0
    timeout: float = 120.0
    keep_alive: bool = True


@dataclass(frozen=True)
class Outcome:
    """One request; times in seconds, `start` from the beginning of the run."""

    start: float
    seconds: float
    first_token: float | None
    model: str
    streamed: bool
    wrong: str = ""
    """Why it does not count as answered: empty, or a word for the kind of failure."""
    detail: str = ""


@dataclass
class Report:
    """What became of all requests."""

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    slow_seconds: float = 10.0

    @property
    def failures(self) -> list[Outcome]:
        """Requests that were not answered whole."""
        return [outcome for outcome in self.outcomes if outcome.wrong]

    @property
    def reasons(self) -> dict[str, int]:
        """How many failed, by reason."""
        return dict(Counter(outcome.wrong for outcome in self.failures))

    @property
    def slow(self) -> int:
        """How many whole answers began late."""
        return sum(1 for o in self.outcomes if not o.wrong and (o.first_token or 0.0) > self.slow_seconds)

    def quantile(self, share: float) -> float:
        """The time to the first token that this share of streamed answers did not exceed; NaN without any."""
        times = sorted(o.first_token for o in self.outcomes if o.streamed and o.first_token is not None and not o.wrong)
        return times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")

    def summary(self) -> dict[str, object]:
        """What people and tests read."""
        return {
            "requests": len(self.outcomes),
            "whole": len(self.outcomes) - len(self.failures),
            "failed": len(self.failures),
            "cut": sum(1 for outcome in self.failures if outcome.wrong in {"cut", "short"}),
            "slow": self.slow,
            "reasons": self.reasons,
            "first_token_p50": round(self.quantile(0.5), 4),
            "first_token_p99": round(self.quantile(0.99), 4),
            "seconds": round(self.seconds, 1),
            "failures": [asdict(outcome) for outcome in self.failures[:10]],
        }


async def run(
    endpoint: Endpoint, plan: Plan, stop: asyncio.Event, report: Report, *, requests: int | None = None
) -> Report:
    """Send requests until told to stop, or until so many were sent; those under way are waited for.

    Args:
        endpoint: where to.
        plan: what to send.
        stop: ends it.
        report: filled while it runs.
        requests: how many; None for no end.
    """
    report.slow_seconds = plan.slow_seconds
    began = time.monotonic()
    turns = iter(range(requests)) if requests is not None else iter(int, 1)
    async with endpoint.asynchronous(connections=plan.concurrency + 4, keep_alive=plan.keep_alive) as client:

        async def worker(number: int) -> None:
            chance = random.Random(number)  # noqa: S311 - repeatable, not secret
            while not stop.is_set() and next(turns, None) is not None:
                outcome = await _one(client, plan, chance, began)
                report.outcomes.append(outcome)
                if outcome.wrong:
                    # A refused request costs nothing: without a pause, thousands of them would hide what else happens.
                    await _pause(stop, 0.2)

        await asyncio.gather(*(worker(number) for number in range(plan.concurrency)))
    report.seconds = time.monotonic() - began
    return report


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


async def _one(client: openai.AsyncOpenAI, plan: Plan, chance: random.Random, began: float) -> Outcome:
    model, streamed = chance.choice(plan.models), chance.random() < plan.streamed
    answer = _Answer(model, plan.tokens)
    start = time.monotonic()
    wrong = detail = ""
    try:
        if streamed:
            await _streamed(client, answer, plan, chance)
        else:
            await _whole(client, answer, plan, chance)
        wrong, detail = answer.verdict()
    except openai.APIStatusError as error:
        wrong, detail = f"status {error.status_code}", str(error)
    except openai.APITimeoutError as error:
        wrong, detail = "timeout", str(error)
    except openai.APIConnectionError as error:
        wrong, detail = "cut" if answer.model else "connection", repr(error.__cause__ or error)
    except (httpx2.HTTPError, openai.APIError) as error:
        wrong, detail = "cut", repr(error)
    seconds = time.monotonic() - start
    first = None if answer.first is None else answer.first - start
    return Outcome(start - began, seconds, first, model, streamed, wrong, detail[:300])


class _Answer:
    """What came of one answer so far."""

    def __init__(self, model: str, tokens: int) -> None:
        self.wanted = model
        self.tokens = tokens
        self.model = ""
        self.text = ""
        self.finish = ""
        self.counted = -1
        self.first: float | None = None

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        """Take in a piece of a stream."""
        self.model = chunk.model
        for choice in chunk.choices:
            self.finish = choice.finish_reason or self.finish
            if choice.delta.content:
                self.first = self.first or time.monotonic()
                self.text += choice.delta.content
        if chunk.usage is not None:
            self.counted = chunk.usage.completion_tokens

    def completion(self, answer: ChatCompletion) -> None:
        """Take in a whole answer."""
        self.model = answer.model
        self.text = answer.choices[0].message.content or ""
        self.finish = answer.choices[0].finish_reason
        self.counted = answer.usage.completion_tokens if answer.usage else -1

    def verdict(self) -> tuple[str, str]:
        """Say what is wrong with it, and the proof; both empty when it is whole."""
        seen = f"{self.counted} of {self.tokens} tokens, finish reason {self.finish!r}, {len(self.text)} characters"
        if not self.finish or self.counted < 0:
            return "cut", f"the stream ended early: {seen}"
        if self.model != self.wanted:
            return "model", f"{self.model!r} answered for {self.wanted!r}"
        if self.counted != self.tokens or self.finish != "length":
            return "short", seen
        return ("", "") if self.text.strip() else ("empty", seen)


async def _streamed(client: openai.AsyncOpenAI, answer: _Answer, plan: Plan, chance: random.Random) -> None:
    stream = await client.chat.completions.create(
        model=answer.wanted,
        messages=[{"role": "user", "content": chance.choice(_PROMPTS)}],
        max_tokens=plan.tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
        timeout=plan.timeout,
    )
    async with stream:
        async for chunk in stream:
            answer.chunk(chunk)


async def _whole(client: openai.AsyncOpenAI, answer: _Answer, plan: Plan, chance: random.Random) -> None:
    answer.completion(
        await client.chat.completions.create(
            model=answer.wanted,
            messages=[{"role": "user", "content": chance.choice(_PROMPTS)}],
            max_tokens=plan.tokens,
            temperature=0,
            extra_body={"ignore_eos": True},
            timeout=plan.timeout,
        )
    )
