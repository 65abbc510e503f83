"""promtool and amtool, out of the user's bundle."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llmprov import paths
from llmprov.bundle.lock import LOCK_FILE, BundleLock
from llmprov.bundle.store import BlobStore

type Tool = Callable[..., subprocess.CompletedProcess[str]]


def _tool(name: str, directory: Path) -> Tool:
    bundle = paths.cache_dir() / "bundle"
    if not (bundle / LOCK_FILE).exists():
        pytest.skip(f"no bundle to take {name} from: make bundle")
    program = directory / name
    shutil.copyfile(BlobStore(bundle / "blobs").path(BundleLock.load(bundle).file(name).digest), program)
    program.chmod(0o755)

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    return _tool("promtool", tmp_path_factory.mktemp("promtool"))


@pytest.fixture(scope="session")
def amtool(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    return _tool("amtool", tmp_path_factory.mktemp("amtool"))
