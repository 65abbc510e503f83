"""Running system tools and waiting for conditions: the two things every part of the lab does."""

import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from llmprov.errors import LabError

_POLL_S = 0.05


def run(command: Sequence[str], *, stdin: str | None = None) -> str:
    """Run a tool to its end and return its standard output.

    Raises:
        LabError: the tool is missing or failed; the details are what it wrote to standard error.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(
            f"{command[0]} is not installed", remedy="run `llmprov lab up`, it names the packages"
        ) from error
    if done.returncode != 0:
        raise LabError(
            f"`{' '.join(command)}` ended with status {done.returncode}",
            remedy="read what it said above; `llmprov lab destroy` removes a lab in whatever state it is",
            details=tuple(line for line in done.stderr.splitlines() if line.strip())[-10:],
        )
    return done.stdout


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll `condition` until it holds; False when `timeout_s` seconds pass first."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() >= deadline:
            return False
        pause.wait(_POLL_S)
    return True
