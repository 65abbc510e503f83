"""Runs the programs that builders need, with a log a person can follow."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from llmprov.errors import BundleError

DISK_FULL = "free some space, or set LLMPROV_CACHE_DIR or --output to a larger disk; then run the command again"
_NO_SPACE = "no space left on device"
_TAIL = 12


def run_logged(argv: list[str], *, cwd: Path, env: Mapping[str, str], log: Path | None) -> str:
    """Run a program to its end and return its output (both streams, as text), which is in the log as it comes.

    Raises:
        BundleError: it is not installed, or its exit code is not 0.
    """
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab+") if log is not None else tempfile.TemporaryFile() as sink:
        sink.write(f"$ {' '.join(argv)}\n".encode())
        sink.flush()
        start = sink.seek(0, os.SEEK_END)
        code = _run(argv, cwd=cwd, env=env, sink=sink)
        sink.seek(start)
        output = sink.read().decode(errors="replace")
    if code != 0:
        where = f"; full output: {log}" if log is not None else ""
        raise BundleError(
            f"{argv[0]} failed with exit code {code}{where}",
            remedy=DISK_FULL if _NO_SPACE in output.lower() else "read the output above",
            details=tuple(output.strip().splitlines()[-_TAIL:]),
        )
    return output


def _run(argv: list[str], *, cwd: Path, env: Mapping[str, str], sink: IO[bytes]) -> int:
    try:
        return subprocess.run(
            argv,
            cwd=cwd,
            env=os.environ | dict(env),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    except FileNotFoundError as error:
        raise BundleError(f"the program {argv[0]} is not installed", remedy=f"install {argv[0]}") from error
