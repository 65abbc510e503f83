"""What the gateway adds to the time to the first token: direct against through, by turns, in one run.

    python -m tests.bench.gateway -i inventories/lab --model smollm2

Both ways go through an SSH tunnel to the same host: one to the model's Service, one to the gateway's port (TLS, key,
the body read). Requests are sent one after the other, by turns, so that whatever else the machine does meets both.
Ends with exit code 1 when the goal was missed.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai

from llmprov import ssh
from llmprov.cluster.objects import SERVICE
from llmprov.inventory import load
from llmprov.manifests.model import NAMESPACE, PORT
from llmprov.report.console import out
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.gateway_keys import any_key
from llmprov.workflows.gateway_secrets import authority
from tests.load.client import Endpoint

GOAL = 0.010
"""Seconds that the gateway may add at the 99th percentile."""


@dataclass(frozen=True)
class Times:
    """Times to the first token in seconds, of the same number of requests either way."""

    direct: Sequence[float]
    through: Sequence[float]

    def added(self, share: float) -> float:
        """How much later the first token came through the gateway, at this quantile."""
        return quantile(self.through, share) - quantile(self.direct, share)

    def summary(self) -> dict[str, object]:
        """What people read; milliseconds."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
        return {
            "requests": len(self.direct),
            "direct_ms": {name: round(1000 * quantile(self.direct, share), 1) for name, share in shares.items()},
            "through_ms": {name: round(1000 * quantile(self.through, share), 1) for name, share in shares.items()},
            "added_ms": {name: round(1000 * self.added(share), 1) for name, share in shares.items()},
        }


def quantile(times: Sequence[float], share: float) -> float:
    """The time that this share of requests did not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def first_token(client: openai.AsyncOpenAI, model: str) -> float:
    """Seconds until the first token of a short answer."""
    start = time.perf_counter()
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Say yes."}],
        max_tokens=2,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    first = 0.0
    async with stream:
        async for chunk in stream:
            if not first and any(choice.delta.content for choice in chunk.choices):
                first = time.perf_counter() - start
    return first


async def measure(direct: Endpoint, through: Endpoint, model: str, requests: int) -> Times:
    """Ask either way by turns."""
    async with direct.asynchronous() as near, through.asynchronous() as far:
        for client in (near, far):
            # Connections, TLS sessions and the engine's prefix cache are no part of what is compared.
            await first_token(client, model)
        times: list[tuple[float, float]] = []
        for turn in range(requests):
            if turn % 2:
                one, other = await first_token(near, model), await first_token(far, model)
            else:
                other, one = await first_token(far, model), await first_token(near, model)
            times.append((one, other))
    return Times([one for one, _ in times], [other for _, other in times])


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gateway", description=__doc__)
    parser.add_argument("-i", "--inventory", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=1000, help="either way; of fewer the 99th percentile is noise")
    given = parser.parse_args()
    inventory = load(given.inventory)
    host = inventory.first_control_plane
    with open_cluster(inventory) as cluster:
        key, certificate = any_key(cluster), authority(cluster)
        service = cluster.get(SERVICE, given.model, NAMESPACE)
        if service is None:
            parser.error(f"there is no model {given.model}")
        address = str(service["spec"]["clusterIP"])  # type: ignore[index]
    with (
        ssh.tunnel(host.ssh, address, PORT) as near,
        ssh.tunnel(host.ssh, host.node_address, inventory.settings.gateway_port) as far,
    ):
        direct = Endpoint(f"http://127.0.0.1:{near}/v1")
        name = inventory.settings.gateway_host or host.node_address
        through = Endpoint(f"https://127.0.0.1:{far}/v1", key, (certificate or b"").decode(), server_name=name)
        times = asyncio.run(measure(direct, through, given.model, given.requests))
    out.print_json(json.dumps(times.summary()))
    return 0 if times.added(0.99) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
