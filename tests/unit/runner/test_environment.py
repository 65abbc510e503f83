"""The environment of ansible-playbook and the choice of a strategy."""

import importlib.util
from pathlib import Path

import pytest

from llmprov import paths
from llmprov.errors import LlmprovError
from llmprov.runner import Journal, environment, journal


def test_mitogen_is_taken_when_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(environment.STRATEGY_VARIABLE, raising=False)
    strategy = environment.choose_strategy()
    assert strategy.name == "mitogen_linear"
    assert (Path(strategy.plugins) / "mitogen_linear.py").is_file()


def test_linear_when_mitogen_is_missing_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(environment.STRATEGY_VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    strategy = environment.choose_strategy()
    assert strategy.name == "linear"
    assert "mitogen is not installed" in strategy.note


def test_linear_when_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.STRATEGY_VARIABLE, "linear")
    assert environment.choose_strategy() == environment.Strategy("linear")


def test_logins_stay_the_users_and_the_rest_is_ours() -> None:
    base = {
        "ANSIBLE_REMOTE_USER": "ops",
        "ANSIBLE_ROLES_PATH": "/theirs",
        "ANSIBLE_HOST_KEY_CHECKING": "False",
        "PATH": "/bin",
    }
    made = environment.build(base, Path("/x/ansible.cfg"), environment.Strategy("linear"), forks=3)
    assert made["ANSIBLE_REMOTE_USER"] == "ops"
    assert made["ANSIBLE_ROLES_PATH"] == str(paths.content_root() / "roles")
    assert made["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert made["PATH"].endswith(":/bin")
    assert any((Path(folder) / "ansible-playbook").exists() for folder in made["PATH"].split(":"))


def test_old_runs_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(journal, "RUNS_KEPT", 2)
    for _ in range(4):
        Journal.create("install").record("start")
    assert len(list(journal.runs_dir().iterdir())) == 3  # the new one is made after two are kept


def test_an_unwritable_state_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").write_text("a file in the way", encoding="utf-8")
    monkeypatch.setenv("LLMPROV_STATE_DIR", str(tmp_path))
    with pytest.raises(LlmprovError, match="cannot make the run's directory"):
        Journal.create("install")
