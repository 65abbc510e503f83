"""Takes out of an installation what is never read at run time, by rules that do not name files one by one."""

import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_DYNAMIC = "(NEEDED)"


def remove_matching(root: Path, patterns: Iterable[str]) -> int:
    """Remove files and directories below `root` by glob; returns the bytes saved."""
    saved = 0
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            if not path.exists() and not path.is_symlink():
                continue  # went with a directory that matched too
            saved += _size(path)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return saved


def remove_unlinked(root: Path, below: str) -> int:
    """Remove shared libraries below a directory that no library outside links, directly or through others.

    What is not linked can only be loaded by name at run time. For NVIDIA's libraries that is once a GPU is found, which
    an engine for CPUs never does. Returns the bytes saved.
    """
    libraries = [path for path in sorted(root.rglob("*.so*")) if path.is_file() and not path.is_symlink()]
    inside = {path for path in libraries if path.is_relative_to(root / below)}
    with ThreadPoolExecutor() as pool:
        needs = dict(zip(libraries, pool.map(needed_libraries, libraries), strict=True))
    used = reachable(needs, roots=[path for path in libraries if path not in inside])
    saved = 0
    for path in sorted(inside - used):
        saved += path.stat().st_size
        path.unlink()
    return saved


def reachable(needs: dict[Path, tuple[str, ...]], roots: Iterable[Path]) -> set[Path]:
    """The libraries that are loaded when these are, given the names that each one links."""
    by_name = {path.name: path for path in sorted(needs, reverse=True)}
    found: set[Path] = set()
    waiting = list(roots)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += [by_name[name] for name in needs[path] if name in by_name]
    return found


def needed_libraries(path: Path) -> tuple[str, ...]:
    """The names of the libraries that a shared library links; none for what is not one (a linker script)."""
    told = subprocess.run(["readelf", "--dynamic", "--wide", str(path)], capture_output=True, text=True, check=False)
    return tuple(line.rsplit("[", 1)[1].rstrip("]") for line in told.stdout.splitlines() if _DYNAMIC in line)


def forget_scripts(packages: Path) -> None:
    """Drop pip's lines about scripts from every RECORD: their hashes depend on this machine's path to Python."""
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if not line.startswith(("bin/", "../"))))


def _size(path: Path) -> int:
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(item.lstat().st_size for item in path.rglob("*") if item.is_file())
