"""Waiting for what a test cannot be told of."""

import time
from collections.abc import Callable
from threading import Event

import pytest


def until(holds: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Ask again and again until it holds; fail the test when that takes too long."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s for {what}")
        Event().wait(0.5)
