"""What runs on hosts runs on their own Python: 3.10 of Ubuntu 22.04, 3.11 of Debian 12, and later ones."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmprov.paths import content_root
from llmprov.workflows import lock_script

OLDEST = "3.10"
PLUGINS = content_root() / "plugins"
HOST_CODE = (
    *sorted((PLUGINS / "modules").glob("*.py")),
    *sorted((PLUGINS / "module_utils").glob("*.py")),
    Path(lock_script.__file__),
)
IMPORT = """
import importlib.util, pathlib, sys
def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
plugins = pathlib.Path(sys.argv[1])
import ansible.module_utils.basic
waiting = sorted((plugins / "module_utils").glob("*.py"))
for path in sorted(waiting, key=lambda path: path.read_text().count("ansible.module_utils.llmprov")):
    load(path, f"ansible.module_utils.{path.stem}")
for path in sorted((plugins / "modules").glob("*.py")):
    load(path, f"module_{path.stem}")
    print(path.stem)
"""


def _type_check(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Check against the standard library of the oldest Python; mypy knows since when each of its names is there."""
    options = ["--python-version", OLDEST, "--follow-imports", "silent"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, paths)]
    return subprocess.run(command, cwd=content_root(), capture_output=True, text=True, check=False)


def _python(version: str) -> str | None:
    """Find a Python: pyenv's own, whose shims work only for versions that are switched on, or any on PATH."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    of_pyenv = (str(path) for path in sorted(versions.glob(f"{version}.*/bin/python")))
    return next(of_pyenv, None) or shutil.which(f"python{version}")


def test_host_code_uses_nothing_newer_than_the_oldest_python() -> None:
    done = _type_check(*HOST_CODE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "line",
    ["import hashlib\nhashlib.file_digest", "from datetime import UTC", "import tomllib", "from enum import StrEnum"],
    ids=lambda line: line.rpartition(" ")[2].rpartition("\n")[2],
)
def test_newer_names_are_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "module.py").write_text(f"{line}\n")
    assert _type_check(tmp_path / "module.py").returncode != 0


@pytest.mark.parametrize("version", [OLDEST, "3.11"])
def test_modules_are_imported_by_an_older_python(version: str) -> None:
    python = _python(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    spec = importlib.util.find_spec("ansible")
    assert spec is not None
    assert spec.origin is not None
    done = subprocess.run(
        [python, "-c", IMPORT, str(PLUGINS)],
        env={"PYTHONPATH": str(Path(spec.origin).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {path.stem for path in (PLUGINS / "modules").glob("*.py")}
