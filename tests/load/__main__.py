"""Load on a gateway.

    python -m tests.load -i inventories/lab --model smollm2 --seconds 60

Asks `llmprov` for the gateway's address, key and authority, and sends from inside the lab's network. SIGTERM and
Ctrl-C end it: requests that are under way are waited for. Prints its report as JSON; ends with exit code 1 when a
request was not answered whole.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from llmprov.report.console import out
from tests.load.client import KEY_VARIABLE, Endpoint, inside, lab_network
from tests.load.generator import Plan, Report, run


def endpoint_of(inventory: Path, environment: Mapping[str, str] | None = None) -> Endpoint:
    """Ask the command line for what a client needs."""
    variables = os.environ if environment is None else environment

    def ask(*words: str) -> str:
        command = [sys.executable, "-m", "llmprov", *words, "-i", str(inventory)]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.strip()

    key = os.environ.get(KEY_VARIABLE) or ask("key", "show", "default")
    return Endpoint(ask("gateway", "address"), key, ask("gateway", "ca"))


async def _load(endpoint: Endpoint, plan: Plan, seconds: float, requests: int | None) -> Report:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if seconds:
        loop.call_later(seconds, stop.set)
    out.print("started", style="dim")
    return await run(endpoint, plan, stop, Report(), requests=requests)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("-i", "--inventory", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True, help="may be given several times")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=24, help="of every answer")
    parser.add_argument("--streamed", type=float, default=0.75, help="share of requests")
    parser.add_argument("--seconds", type=float, default=0.0, help="0: until a signal comes")
    parser.add_argument("--requests", type=int, help="send so many")
    parser.add_argument("--new-connections", action="store_true", help="one for each request")
    parser.add_argument("--report", type=Path, help="write every outcome there, as JSON lines")
    given = parser.parse_args()
    plan = Plan(given.model, given.concurrency, given.tokens, given.streamed, keep_alive=not given.new_connections)
    endpoint = endpoint_of(given.inventory)
    network = lab_network(given.inventory)
    with inside(network) if network else nullcontext():
        report = asyncio.run(_load(endpoint, plan, given.seconds, given.requests))
    if given.report:
        given.report.write_text("".join(json.dumps(vars(outcome)) + "\n" for outcome in report.outcomes))
    out.print_json(json.dumps(report.summary()))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
