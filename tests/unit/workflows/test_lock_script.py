"""The host's program from inside: what keeps two of it apart, with the moment between look and write drawn out."""

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmprov.workflows import lock_script

THREADS = 6


def request(name: str) -> dict[str, str]:
    return {"action": "take", "holder": name, "evict": "", "boot": "", "takeover": "60"}


def test_nobody_looks_while_another_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a descriptor of its own, so threads are kept apart as processes are."""
    directory, start = tmp_path / "operator", threading.Barrier(THREADS)
    real = lock_script.read

    def slowly(path: Path) -> lock_script.Record | None:
        found = real(path)
        threading.Event().wait(0.05)
        return found

    monkeypatch.setattr(lock_script, "read", slowly)

    def take(number: int) -> object:
        start.wait()
        with lock_script.exclusive(directory):
            return lock_script.answer(directory / lock_script.NAME, request(f"u{number}"))["state"]

    with ThreadPoolExecutor(THREADS) as pool:
        assert sorted(map(str, pool.map(take, range(THREADS)))) == ["held"] * (THREADS - 1) + ["mine"]


def test_who_waited_for_a_directory_that_is_gone_waits_for_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "operator"
    real = fcntl.flock
    calls: list[int] = []

    def replaced_meanwhile(descriptor: int, operation: int) -> None:
        if not calls:
            directory.rename(tmp_path / "old")
            directory.mkdir()
        calls.append(operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", replaced_meanwhile)
    with lock_script.exclusive(directory):
        descriptor = os.open(directory, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            real(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    assert len(calls) == 2
