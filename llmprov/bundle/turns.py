"""Takes turns with other llmprov processes that build into the same cache."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmprov.progress import Progress


@contextmanager
def build_turn(cache: Path, progress: Progress) -> Iterator[None]:
    """Hold the cache for building; waits for another build, and says so. The kernel frees it if this process dies."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            with progress.step("waiting", f"another build is running (process {file.read().strip() or 'unknown'})"):
                fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
