"""Stages: their order, fingerprints that change exactly when they should, and records that are read back."""

from pathlib import Path

import pytest

from llmprov.stages import (
    STAGES,
    NewerRecordError,
    Runner,
    Stage,
    StageRecord,
    Where,
    find_stage,
    fingerprint,
    role_closure,
    role_digest,
    role_variables,
    stage_artifacts,
    stage_inputs,
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


def test_every_input_has_a_name(role: Path) -> None:
    inputs = stage_inputs((role,), {"runtime_a": 1}, {"runc": "aa"})
    assert inputs.keys() == {"role runtime", "variable runtime_a", "artifact runc"}
    assert inputs["role runtime"] == role_digest(role)
    assert inputs["artifact runc"] == "aa"


def test_a_variables_digest_covers_name_and_value() -> None:
    digests = [
        stage_inputs((), {name: value}, {})[f"variable {name}"]
        for name, value in (("a", 1), ("b", 1), ("a", "1"), ("a", None))
    ]
    assert len(set(digests)) == 4


def test_fingerprint_changes_with_each_input(role: Path) -> None:
    base = fingerprint(stage_inputs((role,), {"runtime_a": 1}, {"runc": "aa"}))
    others = {
        fingerprint(stage_inputs((role,), {"runtime_a": 2}, {"runc": "aa"})),
        fingerprint(stage_inputs((role,), {"runtime_a": 1}, {"runc": "bb"})),
        fingerprint(stage_inputs((), {"runtime_a": 1}, {"runc": "aa"})),
    }
    assert base not in others
    assert len(others) == 3


def test_fingerprint_does_not_depend_on_order() -> None:
    one = fingerprint(stage_inputs((), {"a": 1, "b": {"x": 1, "y": 2}}, {}))
    two = fingerprint(stage_inputs((), {"b": {"y": 2, "x": 1}, "a": 1}, {}))
    assert one == two


def test_a_roles_dependencies_belong_to_it(tmp_path: Path) -> None:
    for name, needs in (("runtime", "[{role: cluster}]"), ("cluster", "[]")):
        (tmp_path / name / "meta").mkdir(parents=True)
        (tmp_path / name / "meta" / "main.yml").write_text(f"dependencies: {needs}\n")
    assert role_closure(tmp_path, "runtime") == (tmp_path / "runtime", tmp_path / "cluster")


def test_find_stage() -> None:
    assert find_stage("runtime").where is Where.ALL
    with pytest.raises(KeyError, match="kubernets"):
        find_stage("kubernets")


ARTIFACTS: tuple[dict[str, object], ...] = (
    {"kind": "file", "name": "runc", "sha256": "01"},
    {"kind": "file", "name": "helm", "sha256": "02", "controller": True},
    {"kind": "image", "name": "pause", "sha256": "03", "ref": "registry.k8s.io/pause:3"},
    {"kind": "deb", "name": "trixie/socat", "sha256": "04", "suite": "trixie"},
    {"kind": "deb", "name": "bookworm/socat", "sha256": "05", "suite": "bookworm"},
)


def _stage(**values: object) -> Stage:
    return Stage("s", "", Where.ALL, **values)  # type: ignore[arg-type]


def test_artifacts_of_a_stage_by_name_and_kind() -> None:
    assert stage_artifacts(_stage(), ARTIFACTS, "trixie") == {}
    assert stage_artifacts(_stage(files=("runc", "pause")), ARTIFACTS, "trixie") == {"runc": "01"}
    assert stage_artifacts(_stage(images=("runc", "pause")), ARTIFACTS, "trixie") == {"pause": "03"}
    packages = _stage(packages="{codename}")
    assert stage_artifacts(packages, ARTIFACTS, "bookworm") == {"bookworm/socat": "05"}
    assert stage_artifacts(packages, ARTIFACTS, "noble") == {}


@pytest.mark.parametrize(
    ("values", "sees"),
    [
        ({"all_files": True}, [True, False, False, True, True]),
        ({"registries": True}, [False, False, True, False, False]),
    ],
    ids=["all files", "registries"],
)
def test_artifacts_that_are_served_or_named_as_a_whole(values: dict[str, object], sees: list[bool]) -> None:
    stage = _stage(**values)
    whole = stage_artifacts(stage, ARTIFACTS, "trixie")
    without = [
        stage_artifacts(stage, [item for item in ARTIFACTS if item is not left_out], "trixie") for left_out in ARTIFACTS
    ]
    assert [found != whole for found in without] == sees
    assert stage_artifacts(stage, ARTIFACTS[::-1], "trixie") == whole


DATA: dict[str, object] = {
    "schema": 1,
    "stage": "base",
    "fingerprint": "f",
    "files": {"/etc/x": "00"},
    "finished": "2026-01-01T00:00:00Z",
}


def test_a_record_of_an_older_schema_is_read() -> None:
    record = StageRecord.from_data(DATA)
    assert (record.schema, record.stage, record.fingerprint) == (1, "base", "f")
    assert (dict(record.files), dict(record.inputs), record.units) == ({"/etc/x": "00"}, {}, ())


def test_a_record_is_read() -> None:
    more = {"schema": 2, "inputs": {"role base": "11"}, "units": ["a.service"], "packages": {"chrony": "4"}}
    record = StageRecord.from_data({**DATA, **more})
    assert (dict(record.inputs), record.units, dict(record.packages)) == (
        {"role base": "11"},
        ("a.service",),
        {"chrony": "4"},
    )


def test_a_record_of_a_newer_schema_is_told_apart() -> None:
    with pytest.raises(NewerRecordError, match="schema 3") as error:
        StageRecord.from_data({**DATA, "schema": 3})
    assert error.value.schema == 3


@pytest.mark.parametrize("data", [[], None, "nonsense", {"schema": "2"}, {"schema": 2}, {"schema": 1, "stage": "base"}])
def test_what_is_no_record_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="record"):
        StageRecord.from_data(data)
