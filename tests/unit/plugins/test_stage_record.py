"""Records: computed on the controller as a plan computes them, written on the host with copies of what is readable."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from llmprov.paths import content_root
from llmprov.stages import StageRecord, find_stage, fingerprint, role_closure, stage_artifacts, stage_inputs

type Loader = Callable[[str, str], ModuleType]
type Record = Callable[..., dict[str, object]]
INPUTS = {"role base": "11" * 32}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def record(plugin: Loader, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Record:
    """Return a function that runs the module."""
    module = plugin("modules", "stage_record")
    monkeypatch.setattr(module, "STATE_DIRECTORY", state)

    def run(*, check: bool = False, **values: object) -> dict[str, object]:
        arguments = {"stage": "base", "inputs": INPUTS, "fingerprint": "f", "schema": 2, **values}
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        answer: dict[str, object] = json.loads(capsys.readouterr().out)
        assert "failed" not in answer, answer
        return answer

    return run


def _copies(state: Path) -> set[str]:
    return {path.name for path in (state / "managed").iterdir()}


def test_a_record_is_written_once(record: Record, state: Path, tmp_path: Path) -> None:
    path = tmp_path / "limits"
    path.write_text("x")
    values = {"files": {str(path): sha256("x")}, "units": ["a.service"], "packages": {"chrony": "4"}}
    assert record(**values)["changed"]
    file = state / "stages" / "base.json"
    read = StageRecord.from_data(json.loads(file.read_text()))
    assert (dict(read.files), dict(read.packages)) == (values["files"], values["packages"])
    assert (read.units, dict(read.inputs), read.schema) == (("a.service",), INPUTS, 2)
    assert file.stat().st_mode & 0o777 == 0o600
    assert (state / "stages").stat().st_mode & 0o777 == 0o755
    again = record(**values)
    assert not again["changed"]
    assert again["record"] == {
        "schema": 2,
        "stage": "base",
        "fingerprint": "f",
        "finished": read.finished,
    }


def test_check_mode_writes_nothing(record: Record, state: Path) -> None:
    assert record(check=True)["changed"]
    assert not state.exists()


@pytest.mark.parametrize("change", ["fingerprint", "inputs", "files", "units", "packages", "schema"])
def test_what_is_new_is_written(record: Record, change: str) -> None:
    record()
    new = {
        "fingerprint": "g",
        "inputs": {"role base": "22" * 32},
        "files": {"/x": "0"},
        "units": ["b.service"],
        "packages": {"p": "1"},
        "schema": 3,
    }
    assert record(**{change: new[change]})["changed"]


@pytest.mark.parametrize("before", ['{"schema": 1, "stage": "base", "fingerprint": "f", "files": {}}', "{", "[]"])
def test_an_older_or_damaged_record_is_written_anew(record: Record, state: Path, before: str) -> None:
    (state / "stages").mkdir(parents=True)
    (state / "stages" / "base.json").write_text(before)
    assert record()["changed"]
    assert StageRecord.from_data(json.loads((state / "stages" / "base.json").read_text())).schema == 2


def test_a_record_that_others_can_read_is_closed(record: Record, state: Path) -> None:
    record()
    (state / "stages" / "base.json").chmod(0o644)
    assert record()["changed"]
    assert (state / "stages" / "base.json").stat().st_mode & 0o777 == 0o600


def test_copies_are_kept_of_text_that_everybody_may_read(record: Record, state: Path, tmp_path: Path) -> None:
    contents = {
        "text": b"x",
        "binary": b"\xff\xfe",
        "zero": b"a\0",
        "large": b"x" * 65537,
        "secret": b"s",
        "touched": b"t",
    }
    files = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600 if name == "secret" else 0o644)
        files[str(tmp_path / name)] = hashlib.sha256(content).hexdigest()
    (tmp_path / "touched").write_text("by somebody")
    record(files={**files, str(tmp_path / "gone"): sha256("gone")})
    assert _copies(state) == {sha256("x")}
    copy = state / "managed" / sha256("x")
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("x", 0o600)
    assert (state / "managed").stat().st_mode & 0o777 == 0o700


def test_copies_that_no_record_names_are_removed(record: Record, state: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("old")
    other.write_text("other")
    record(stage="runtime", files={str(other): sha256("other")})
    record(files={str(path): sha256("old")})
    path.write_text("new")
    record(files={str(path): sha256("new")})
    assert _copies(state) == {sha256("new"), sha256("other")}


PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {llmprov: "{{ x_facts }}", cacheable: true}
    - ansible.builtin.import_role: {name: runtime}
"""
TASKS = """
- stage_record:
    stage: runtime
    units: [containerd.service]
    files: {/etc/x: "00"}
  register: runtime_recorded
- ansible.builtin.copy:
    content: "{{ runtime_recorded | to_json }}"
    dest: "{{ x_answer }}"
    mode: "0600"
  check_mode: false
"""
ARTIFACTS = (
    {"kind": "file", "name": "runc", "sha256": "01" * 32},
    {"kind": "image", "name": "pause", "sha256": "03" * 32, "ref": "registry.k8s.io/pause:3"},
)


@pytest.fixture
def roles(tmp_path: Path) -> Path:
    """Roles of the tests' own, where the product's would need a bundle and a host."""
    directory = tmp_path / "roles"
    options = "{runtime_list: {type: list}, runtime_unset: {type: str}}"
    _role(directory, "runtime", options, "[{role: cluster}]")
    _role(directory, "cluster", "{cluster_name: {type: str}, cluster_bundle_dir: {type: path}}", "[]")
    return directory


def _role(directory: Path, name: str, options: str, dependencies: str) -> None:
    for part, text in (
        ("meta/main.yml", f"dependencies: {dependencies}\n"),
        ("meta/argument_specs.yml", f"argument_specs: {{main: {{options: {options}}}}}\n"),
        ("tasks/main.yml", TASKS if name == "runtime" else "[]\n"),
    ):
        (directory / name / part).parent.mkdir(parents=True, exist_ok=True)
        (directory / name / part).write_text(text)


def _play(roles: Path, facts: dict[str, object]) -> dict[str, Any]:
    """Run the role in check mode; return what stage_record said."""
    directory = roles.parent
    (directory / "bundle.lock.json").write_text(json.dumps({"artifacts": ARTIFACTS}))
    (directory / "play.yml").write_text(PLAYBOOK)
    values = {"runtime_list": ["{{ inventory_hostname }}", {"a": 1}], "cluster_name": "c", "cluster_bundle_dir": "."}
    about = {"x_answer": str(directory / "answer"), "x_facts": facts, "ansible_python_interpreter": sys.executable}
    hosts = {"all": {"vars": {"ansible_connection": "local", **values, **about}, "hosts": {"h1": {}}}}
    (directory / "hosts.json").write_text(json.dumps(hosts))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(content_root() / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(roles),
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "--check", "-i", "hosts.json", "play.yml"]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads((directory / "answer").read_text())
    return answer


def _wanted(roles: Path) -> dict[str, str]:
    variables = {"runtime_list": ["h1", {"a": 1}], "cluster_name": "c"}
    artifacts = stage_artifacts(find_stage("runtime"), ARTIFACTS, "trixie")
    return stage_inputs(role_closure(roles, "runtime"), variables, artifacts)


def test_the_controller_computes_what_a_plan_computes(roles: Path) -> None:
    answer = _play(roles, {"os": {"codename": "trixie"}})
    assert answer["changed"]
    assert answer["record"]["fingerprint"] == fingerprint(_wanted(roles))
    assert answer["record"]["schema"] == 2


@pytest.mark.parametrize(
    ("change", "changed"),
    [({}, False), ({"units": []}, True), ({"schema": 1}, True), ({"files": {"/etc/x": "11"}}, True)],
    ids=str,
)
def test_what_the_probe_found_saves_the_way_to_the_host(
    roles: Path, change: dict[str, object], *, changed: bool
) -> None:
    record = {
        "schema": 2,
        "stage": "runtime",
        "fingerprint": fingerprint(_wanted(roles)),
        "files": {"/etc/x": "00"},
        "units": ["containerd.service"],
        "packages": {},
        "finished": "2026-01-01T00:00:00Z",
    }
    answer = _play(roles, {"os": {"codename": "trixie"}, "records": {"runtime": {**record, **change}}})
    assert answer["changed"] is changed
    assert (answer["record"]["finished"] == "2026-01-01T00:00:00Z") is not changed
