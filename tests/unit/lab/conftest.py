"""State and caches of the test's own."""

from pathlib import Path

import pytest

from llmprov.lab.spec import LabSpec, build


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LLMPROV_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def spec() -> LabSpec:
    return build({"name": "unit", "hosts": {"cp1": None, "gpu1": {"disk": "2G"}, "gpu2": {"memory": "512M"}}})
