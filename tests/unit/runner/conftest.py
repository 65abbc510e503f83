"""Real ansible-playbook runs against this machine, over a local connection."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Two host names that are both this machine, and a models directory that is none of Ansible's business."""
    directory = tmp_path / "inventory"
    (directory / "models").mkdir(parents=True)
    (directory / "models" / "broken.yml").write_text("]not yaml", encoding="utf-8")
    (directory / "hosts.yml").write_text(
        "all: {hosts: {a: {ansible_connection: local}, b: {ansible_connection: local}}}\n", encoding="utf-8"
    )
    return directory
