"""Every role keeps the same promises; what is declared in one file and used in another agrees."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from llmprov.paths import content_root
from llmprov.preflight import Needs
from llmprov.preflight.needs import SUPPORTED_SYSTEMS
from llmprov.stages import STAGES, Runner, Stage, role_variables, stage_names
from llmprov.workflows.push_job import PUSH_PORT

ROOT = content_root()
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
WORKING_ROLES = [role for role in ROLES if role.name != "cluster"]
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))


def _stem(path: Path) -> str:
    return path.stem


def read(path: Path) -> Any:  # noqa: ANN401 - YAML
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    specs = read(role / "meta" / "argument_specs.yml")["argument_specs"]
    options: dict[str, dict[str, Any]] = specs["main"].get("options", {})
    return options


@pytest.mark.parametrize("role", ROLES, ids=_stem)
def test_defaults_and_argument_specs_have_the_same_keys(role: Path) -> None:
    defaults = read(role / "defaults" / "main.yml")
    assert sorted(defaults) == sorted(options_of(role))
    assert set(role_variables(role)) <= set(defaults)


@pytest.mark.parametrize("role", ROLES, ids=_stem)
def test_defaults_satisfy_their_specification(role: Path) -> None:
    defaults = read(role / "defaults" / "main.yml")
    plain = {key: value for key, value in defaults.items() if "{{" not in str(value)}
    specs = {key: spec for key, spec in options_of(role).items() if key in plain}
    assert ArgumentSpecValidator(specs).validate(plain).error_messages == []


@pytest.mark.parametrize("role", ROLES, ids=_stem)
def test_options_are_described_and_carry_the_roles_name(role: Path) -> None:
    for name, spec in options_of(role).items():
        assert name.startswith(f"{role.name}_")
        assert spec.get("type")
        assert spec.get("description")


@pytest.mark.parametrize("role", ROLES, ids=_stem)
def test_defaults_are_explained(role: Path) -> None:
    # One comment may explain a paragraph of variables; a paragraph without any explains nothing.
    text = (role / "defaults" / "main.yml").read_text(encoding="utf-8").removeprefix("---\n")
    for paragraph in text.split("\n\n"):
        assert paragraph.lstrip().startswith("#"), paragraph


@pytest.mark.parametrize("role", ROLES, ids=_stem)
def test_internal_variables_are_marked_as_such(role: Path) -> None:
    file = role / "vars" / "main.yml"
    names = read(file) if file.exists() else {}
    assert [name for name in names if not name.startswith(f"__{role.name}_")] == []


@pytest.mark.parametrize("role", WORKING_ROLES, ids=_stem)
def test_role_can_be_taken_back_and_depends_on_the_shared_settings(role: Path) -> None:
    assert (role / "tasks" / "main.yml").exists()
    assert read(role / "tasks" / "reset.yml")
    assert read(role / "meta" / "main.yml")["dependencies"] == [{"role": "cluster"}]


@pytest.mark.parametrize("role", WORKING_ROLES, ids=_stem)
def test_tasks_hide_no_failure_and_name_no_group(role: Path) -> None:
    for file in (role / "tasks").glob("*.yml"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"ignore_errors|failed_when: false|groups\[|group_names", text), file
        assert len(text.splitlines()) <= 80, file


def test_every_ansible_stage_is_a_role_that_leaves_its_record() -> None:
    for name in stage_names(runner=Runner.ANSIBLE):
        tasks = read(ROOT / "roles" / name / "tasks" / "main.yml")
        records = [task["stage_record"]["stage"] for task in tasks if "stage_record" in task]
        assert records == [name]
        assert "stage_record" in tasks[-1], "the record comes last: it says that all before it succeeded"


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.runner is Runner.ANSIBLE], ids=lambda s: s.name)
def test_a_stages_inputs_cover_the_artifacts_that_its_role_looks_up(stage: Stage) -> None:
    variables = role_vars(ROOT / "roles" / stage.name)
    # What a role waits for in the registry leaves no trace on the host.
    queries = [query for name, text in variables.items() if not name.endswith("_wanted") for query in queries_of(text)]
    named = {"file": set[str](), "image": set[str]()}
    for terms, kind in queries:
        names = [name for term in terms for name in terms_of(term, variables)] if kind in named else []
        named.get(kind, set()).update(names)
    kinds = {kind for _, kind in queries}
    assert named["file"] == set(stage.files)
    assert named["image"] == set(stage.images)
    assert ("deb" in kinds) == bool(stage.packages)
    assert ("registries" in kinds) == stage.registries
    waits_for_files = any(kind == "files" for text in variables.values() for _, kind in queries_of(text))
    assert waits_for_files == stage.all_files


def role_vars(role: Path) -> dict[str, Any]:
    file = role / "vars" / "main.yml"
    variables: dict[str, Any] = read(file) if file.exists() else {}
    return variables


def queries_of(value: object) -> list[tuple[list[str], str]]:
    """Return terms and kind of each query of the bundle in a template."""
    found = []
    for arguments in re.findall(r"query\('llmprov_bundle',(.*?directory=\w+)", str(value), flags=re.DOTALL):
        words = [word.strip() for word in arguments.split(",")]
        kinds = [word.partition("=")[2].strip("'") for word in words if word.startswith("kind=")]
        found.append(([word for word in words if "=" not in word], kinds[0] if kinds else "file"))
    return found


def terms_of(term: str, variables: dict[str, Any]) -> list[str]:
    names: list[str] = variables[term.removeprefix("*")] if term.startswith("*") else [term.strip("'")]
    return names


@pytest.mark.parametrize("name", stage_names(runner=Runner.ANSIBLE))
def test_units_of_a_record_are_started_even_when_masked(name: str) -> None:
    role = ROOT / "roles" / name
    files = [file for file in sorted((role / "tasks").glob("*.yml")) if file.name != "reset.yml"]
    tasks = [task for file in files for task in read(file)]
    [record] = [task["stage_record"] for task in tasks if "stage_record" in task]
    recorded = units_in(record.get("units"), role)
    run = [unit for task in tasks if "systemd_units" in task for unit in specs_of(task["systemd_units"]["units"], role)]
    for unit in recorded:
        [spec] = [spec for spec in run if spec["name"] == unit]
        assert spec["masked"] is False
        assert "started" in spec["state"]
        assert spec["enabled"] is True
    unrecorded = {spec["name"] for spec in run if "state" in spec} - recorded
    assert unrecorded <= {"llmprov-cdi.service"}, "runs once and ends"


def units_in(value: object, role: Path) -> set[str]:
    """Return the units that a record names, in its own words or those of a variable of the role."""
    found = set(re.findall(r"[\w@.-]+\.(?:service|path)\b", str(value or "")))
    return found | {spec["name"] for name in re.findall(r"__\w+_services", str(value)) for spec in specs_of(name, role)}


def specs_of(value: object, role: Path) -> list[dict[str, Any]]:
    """Return units with what is wanted of them; a variable of the role gives its dictionaries as a template does."""
    if isinstance(value, list):
        return value
    [name] = re.findall(r"__\w+", str(value))
    parts = re.findall(r"\{'name':[^}]*\}", role_vars(role)[name])
    return [yaml.safe_load(part) for part in parts]


def test_install_runs_the_stages_in_order_and_by_tag() -> None:
    plays = read(ROOT / "playbooks" / "install.yml")
    staged = [(play["roles"], play["tags"]) for play in plays if "roles" in play]
    assert all(roles == tags for roles, tags in staged)
    order = [roles[0] for roles, _ in staged if roles != ["prepull"]]
    assert tuple(order) == tuple(stage.name for stage in STAGES if stage.runner is Runner.ANSIBLE)


def test_images_are_pulled_as_soon_as_there_is_a_runtime() -> None:
    order = [play["roles"][0] for play in read(ROOT / "playbooks" / "install.yml") if "roles" in play]
    assert order.index("prepull") == order.index("runtime") + 1


def test_reset_takes_every_role_back() -> None:
    [play] = read(ROOT / "playbooks" / "reset.yml")
    taken = [task["ansible.builtin.import_role"]["name"] for task in play["tasks"] if "host_probe" not in task]
    assert sorted(taken) == [role.name for role in WORKING_ROLES]


@pytest.mark.parametrize("module", MODULES, ids=_stem)
def test_modules_document_their_options(module: Path) -> None:
    constants = {
        node.targets[0].id: str(node.value.value)
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    document = yaml.safe_load(constants["DOCUMENTATION"])
    assert document["module"] == module.stem
    assert document["short_description"]
    assert all(option.get("description") for option in document.get("options", {}).values())
    examples = yaml.safe_load(constants["EXAMPLES"])
    for task in examples:
        assert set(task[module.stem] or {}) <= set(document.get("options", {}))


def test_what_the_controller_takes_for_granted_is_what_roles_say() -> None:
    registry = read(ROOT / "roles" / "registry" / "defaults" / "main.yml")
    assert Needs().push_port == PUSH_PORT == registry["registry_push_port"]
    assert Needs().registry_path == registry["registry_data_dir"]
    supported = read(ROOT / "roles" / "base" / "vars" / "main.yml")["__base_supported"]
    assert supported == [f"{name} {version}" for name, version in SUPPORTED_SYSTEMS]
