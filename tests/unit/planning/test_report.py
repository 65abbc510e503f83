"""What `llmprov plan` prints, for people and for programs."""

import json

import pytest

from llmprov.host_state import Unprobed
from llmprov.plans import Drift, FieldChange, ObjectAction, ObjectPlan, Plan, StagePlan, Trouble, Verdict
from llmprov.report.plan import plan_json, print_plan

PLAN = Plan(
    stages=(
        StagePlan("cp1", "base", Verdict.IN_SYNC),
        StagePlan("gpu1", "base", Verdict.CHANGED, tuple(f"variable base_{number}" for number in range(6))),
        StagePlan("gpu1", "runtime", Verdict.DRIFTED, (), (Drift("/etc/containerd/config.toml", "-[a]\n+[b]"),)),
        StagePlan("gpu2", "base", Verdict.UNREACHABLE),
        StagePlan("gpu2", "runtime", Verdict.UNREACHABLE),
    ),
    push=("docker.io/vllm/vllm-openai:v1",),
    objects=(
        ObjectPlan("models", ObjectAction.CREATE, "Deployment llmprov-models/a"),
        ObjectPlan(
            "models",
            ObjectAction.UPDATE,
            "Deployment llmprov-models/b",
            tuple(FieldChange(f"spec.field{number}", number, None) for number in range(6)),
        ),
    ),
    troubles=(Trouble("gateway", "Deployment envoy has 1 of 2 replicas"),),
    seconds=1.25,
)
DEAD = [Unprobed("gpu2", "unreachable over SSH", "look at its power")]


def test_what_is_to_be_done_is_said_and_the_rest_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(PLAN, DEAD, as_json=False, diff=False)
    text = capsys.readouterr().out
    assert "cp1" not in text
    assert "variable base_3, … 2 more" in text
    assert "file /etc/containerd/config.toml was changed" in text
    assert text.count("gpu2") == 1
    assert "unreachable over SSH" in text
    assert "+ Deployment llmprov-models/a" in text
    assert "… 2 more fields (--diff)" in text
    assert "gateway: Deployment envoy has 1 of 2 replicas" in text
    assert "1 stages to run, 1 drifted, 1 hosts unreachable, 1 to push, 2 objects, 1 in trouble" in text
    assert "[b]" not in text


def test_diff_shows_files_and_all_fields(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(PLAN, DEAD, as_json=False, diff=True)
    text = capsys.readouterr().out
    assert "-[a]\n+[b]" in text
    assert "spec.field5: 5 → nothing" in text


def test_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(Plan((StagePlan("cp1", "base", Verdict.IN_SYNC),), seconds=2.0), (), as_json=False, diff=False)
    assert capsys.readouterr().out == "nothing to do; looked at everything in 2.0 s\n"


def test_json_holds_everything() -> None:
    document = json.loads(json.dumps(plan_json(PLAN, DEAD)))
    assert document["empty"] is False
    assert [item["verdict"] for item in document["hosts"]].count("unreachable") == 2
    assert document["hosts"][2]["files"] == [
        {"path": "/etc/containerd/config.toml", "removed": False, "diff": "-[a]\n+[b]"}
    ]
    assert document["unreachable"] == [
        {"host": "gpu2", "problem": "unreachable over SSH", "remedy": "look at its power"}
    ]
    assert document["objects"][0] == {
        "stage": "models",
        "action": "create",
        "object": "Deployment llmprov-models/a",
        "fields": [],
    }
