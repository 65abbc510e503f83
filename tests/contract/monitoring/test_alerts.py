"""Every alert fires when it should and only then, as promtool evaluates the very rules that are deployed."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmprov.observability.alerts import WATCHDOG
from llmprov.observability.rules import alerts, rule_groups, rules_document
from llmprov.observability.values import AlertRule, Objectives
from tests.contract.monitoring.names import names_in

type Tool = Callable[..., subprocess.CompletedProcess[str]]

CASES = Path(__file__).parent / "cases"
JOBS = ("node-exporter", "coredns")
ALERTS = sorted({rule.name for rule in alerts(Objectives(), ())})
STEP = 15


def cases(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load((CASES / f"{name}.yml").read_text())
    return loaded


def write_rules(directory: Path, jobs: tuple[str, ...] = JOBS) -> Path:
    file = directory / "rules.yml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(rules_document(Objectives(), jobs)))))
    return file


def write_rules_of(name: str, directory: Path) -> None:
    """Write an alert and the rules that it is made of, in their order; the others would only take time."""
    groups = rule_groups(Objectives(), JOBS)
    needed = {name}
    for rule in reversed([rule for group in groups for rule in group.rules]):
        label = rule.name if isinstance(rule, AlertRule) else rule.record
        if label in needed:
            needed |= names_in(rule.expr)
    kept = [
        {
            "name": group.name,
            "rules": [
                rule.document()
                for rule in group.rules
                if (rule.name if isinstance(rule, AlertRule) else rule.record) in needed
            ],
        }
        for group in groups
    ]
    document = {"groups": [group for group in kept if group["rules"]]}
    (directory / "rules.yml").write_text(yaml.safe_dump(json.loads(json.dumps(document))))


def test_rules_are_valid(promtool: Tool, tmp_path: Path) -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", write_rules(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_alert(name: str, promtool: Tool, tmp_path: Path) -> None:
    # Its own labels are what this test is about: annotations are filled in from them by Prometheus.
    tests = [_promtool_case(name, case) for case in cases(name)]
    write_rules_of(name, tmp_path)
    document = {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP}s", "tests": tests}
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def _promtool_case(name: str, case: dict[str, Any]) -> dict[str, Any]:
    # ALERTS is what Prometheus itself says of each alert; promtool compares all of its labels.
    expected = [
        {"labels": _series("ALERTS", {"alertname": name, "alertstate": "firing", **labels}), "value": 1}
        for labels in case["fires"]
    ]
    return {
        "name": f"{name}: {case['name']}",
        "interval": f"{STEP}s",
        "input_series": case["input"],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{name}", alertstate="firing"}}',
                "eval_time": case["at"],
                "exp_samples": expected,
            }
        ],
    }


def _series(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_a_case_that_fires_and_one_that_does_not(name: str) -> None:
    fires = [bool(case["fires"]) for case in cases(name)]
    assert any(fires)
    # The dead man's switch must never stop.
    assert name == WATCHDOG or not all(fires)


def test_there_is_no_case_without_an_alert() -> None:
    assert sorted(file.stem for file in CASES.glob("*.yml")) == ALERTS


def test_a_case_that_expects_the_wrong_thing_is_seen(promtool: Tool, tmp_path: Path) -> None:
    case = next(case for case in cases("KvCacheFull") if case["fires"])
    write_rules_of("KvCacheFull", tmp_path)
    wrong = _promtool_case("KvCacheFull", {**case, "fires": []})
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP}s", "tests": [wrong]}))
    assert promtool("test", "rules", file).returncode != 0
