"""Stages: their order, fingerprints that change exactly when they should, and records that are read back."""

import json
from pathlib import Path

import pytest

from llmprov.stages import (
    STAGES,
    Runner,
    StageRecord,
    fingerprint,
    role_digest,
    role_variables,
    stage_names,
    stages_until,
)


@pytest.fixture
def role(tmp_path: Path) -> Path:
    role = tmp_path / "runtime"
    for part in ("tasks", "meta", "templates"):
        (role / part).mkdir(parents=True)
    (role / "tasks" / "main.yml").write_text("- name: One\n")
    (role / "templates" / "unit.j2").write_text("[Unit]\n")
    (role / "meta" / "argument_specs.yml").write_text(
        "argument_specs: {main: {options: {runtime_b: {type: str}, runtime_a: {type: int}}}}\n"
    )
    return role


def test_ansible_stages_come_before_those_of_python() -> None:
    runners = [stage.runner for stage in STAGES]
    assert runners == sorted(runners, key=lambda runner: runner is Runner.PYTHON)
    assert stage_names(runner=Runner.ANSIBLE) + stage_names(runner=Runner.PYTHON) == stage_names()


def test_until_includes_the_stage_itself() -> None:
    assert [stage.name for stage in stages_until("registry")] == ["base", "registry"]
    assert stages_until("models") == STAGES


def test_until_an_unknown_stage() -> None:
    with pytest.raises(KeyError, match="kubernets"):
        stages_until("kubernets")


def test_variables_come_sorted_from_the_specification(role: Path) -> None:
    assert role_variables(role) == ("runtime_a", "runtime_b")


def test_variables_about_the_run_are_left_out(role: Path) -> None:
    (role / "meta" / "argument_specs.yml").write_text(
        "argument_specs: {main: {options: {registry_push: {type: str}, registry_data_dir: {type: path}}}}\n"
    )
    assert role_variables(role) == ("registry_data_dir",)


def test_digest_follows_content_and_names(role: Path) -> None:
    before = role_digest(role)
    (role / "templates" / "unit.j2").write_text("[Service]\n")
    changed = role_digest(role)
    (role / "templates" / "unit.j2").rename(role / "templates" / "other.j2")
    assert len({before, changed, role_digest(role)}) == 3


def test_digest_ignores_what_does_not_reach_the_host(role: Path) -> None:
    before = role_digest(role)
    (role / "README.md").write_text("about\n")
    (role / "tests").mkdir()
    (role / "tests" / "test.yml").write_text("- hosts: all\n")
    assert role_digest(role) == before


def test_fingerprint_changes_with_each_of_its_parts(role: Path) -> None:
    base = fingerprint((role,), {"runtime_a": 1}, {"runc": "aa"})
    others = {
        fingerprint((role,), {"runtime_a": 2}, {"runc": "aa"}),
        fingerprint((role,), {"runtime_a": 1}, {"runc": "bb"}),
        fingerprint((), {"runtime_a": 1}, {"runc": "aa"}),
    }
    assert base not in others
    assert len(others) == 3


def test_fingerprint_does_not_depend_on_order(role: Path) -> None:
    one = fingerprint((role,), {"a": 1, "b": {"x": 1, "y": 2}}, {})
    two = fingerprint((role,), {"b": {"y": 2, "x": 1}, "a": 1}, {})
    assert one == two


def test_record_is_read_back() -> None:
    text = json.dumps(
        {
            "schema": 1,
            "stage": "base",
            "fingerprint": "f",
            "files": {"/etc/x": "00"},
            "finished": "2026-01-01T00:00:00Z",
        }
    )
    record = StageRecord.from_json(text)
    assert (record.stage, record.fingerprint, dict(record.files)) == ("base", "f", {"/etc/x": "00"})


@pytest.mark.parametrize("text", ["[]", '{"schema": 2}', '{"schema": 1, "stage": "base"}', "nonsense"])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"record|Expecting"):
        StageRecord.from_json(text)
