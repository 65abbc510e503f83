"""Every public variable of every role: changing it changes the fingerprints of the stages that read it, and no other.

What is expected is computed here from the roles' own files, not from the code that makes fingerprints.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml

from llmprov import stages
from llmprov.paths import content_root
from llmprov.stages import Runner, fingerprint, role_closure, role_variables, stage_inputs, stage_names

ROLES = content_root() / "roles"
STAGES = stage_names(runner=Runner.ANSIBLE)
_READ = ("defaults", "handlers", "tasks", "templates", "vars")
_WORD = re.compile(r"[a-z][a-z0-9_]*")


@cache
def _yaml(path: Path) -> Mapping[str, object]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def _defaults(role: str) -> Mapping[str, object]:
    return _yaml(ROLES / role / "defaults" / "main.yml")


def _reachable(role: str) -> set[str]:
    """The role and all that it depends on, read from the roles' own meta files."""
    dependencies = _yaml(ROLES / role / "meta" / "main.yml").get("dependencies") or []
    assert isinstance(dependencies, list)
    return {role}.union(*(_reachable(item["role"]) for item in dependencies))


def _is_exempt(variable: str) -> bool:
    return variable in stages._ABOUT_THE_RUN or variable.startswith(stages._ABOUT_OBJECTS)


VARIABLES = sorted({(role.name, name) for role in ROLES.iterdir() for name in _defaults(role.name)})
_VALUES = {name: value for role in ROLES.iterdir() for name, value in _defaults(role.name).items()}


@cache
def _role_inputs(stage: str) -> Mapping[str, str]:
    return stage_inputs(role_closure(ROLES, stage), {}, {})


@cache
def _names(stage: str) -> frozenset[str]:
    return frozenset(name for role in role_closure(ROLES, stage) for name in role_variables(role))


def _fingerprints(values: Mapping[str, object]) -> dict[str, str]:
    """Fingerprint every stage as plan and install do: of what its roles' argument specifications name."""
    found = {}
    for stage in STAGES:
        read = {name: values[name] for name in _names(stage) if name in values}
        found[stage] = fingerprint({**_role_inputs(stage), **stage_inputs((), read, {})})
    return found


_BEFORE = _fingerprints(_VALUES)


@pytest.mark.parametrize(("role", "variable"), VARIABLES, ids=[f"{role}-{name}" for role, name in VARIABLES])
def test_changes_the_stages_that_read_it_and_no_other(role: str, variable: str) -> None:
    expected = set() if _is_exempt(variable) else {stage for stage in STAGES if role in _reachable(stage)}
    after = _fingerprints({**_VALUES, variable: ["another value than", _VALUES[variable]]})
    assert {stage for stage in STAGES if after[stage] != _BEFORE[stage]} == expected


@pytest.mark.parametrize("stage", STAGES)
def test_reads_no_variable_that_it_does_not_declare(stage: str) -> None:
    """A variable of another role would change the host and not the fingerprint."""
    declared = {name for role in _reachable(stage) for name in _defaults(role)}
    files = (path for part in _READ for path in (ROLES / stage / part).rglob("*") if path.is_file())
    words = {word for path in files for word in _WORD.findall(path.read_text(encoding="utf-8"))}
    assert words & (_VALUES.keys() - declared) == set()


def test_what_bears_on_no_host_is_a_variable_that_there_is() -> None:
    assert {name for name in stages._ABOUT_THE_RUN if name not in _VALUES} == set()
    assert [prefix for prefix in stages._ABOUT_OBJECTS if not any(name.startswith(prefix) for name in _VALUES)] == []


def test_most_variables_bear_on_hosts() -> None:
    """An empty list of variables, or one that is exempt as a whole, would make every test above pass."""
    bearing = [name for _, name in VARIABLES if not _is_exempt(name)]
    assert len(bearing) > 40
    assert len(bearing) > len(VARIABLES) / 2
