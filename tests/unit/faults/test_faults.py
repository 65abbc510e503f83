"""What the tests of faults stand on: their table, what they read of plans and hosts, moments of an install."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmprov.plans import Drift, ObjectAction, ObjectPlan, Plan, StagePlan, Trouble, Verdict
from llmprov.report.plan import plan_json
from llmprov.stages import Runner, stage_names
from tests.faults.cluster import LOOK, differences, read_plan
from tests.faults.fault import Serving
from tests.faults.live import WAY, Moment
from tests.faults.table import FAULTS, unreachable

RESULT = {"event": "result", "stage": "runtime", "host": "gpu1", "status": "ok"}
LATER = {"event": "phase", "name": "apply network", "seconds": 1.0}


def test_names_are_told_apart() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_verdicts_and_stages_are_those_that_there_are() -> None:
    for fault in FAULTS:
        assert {stage for _, stage in fault.plan} <= set(stage_names(runner=Runner.ANSIBLE)), fault.name
        assert set(fault.plan.values()) <= {str(verdict) for verdict in Verdict}, fault.name


def test_a_worker_that_does_not_answer_has_no_stage_of_a_control_plane() -> None:
    assert {stage for _, stage in unreachable("gpu2")}.isdisjoint({"registry", "control_plane"})
    assert ("gpu2", "worker") in unreachable("gpu2")


def test_short_faults_leave_every_replica_alone() -> None:
    short = [fault for fault in FAULTS if fault.short]
    assert short
    assert all(fault.serving is Serving.WHOLE and not fault.meanwhile for fault in short)


@pytest.mark.parametrize(
    ("moment", "events", "has_come"),
    [
        (Moment("result", "runtime"), [RESULT], True),
        (Moment("play_end", "runtime"), [RESULT], False),
        (Moment("result", "base"), [RESULT], True),  # it was over before anybody looked
        (Moment("result", "worker"), [RESULT], False),
        (Moment("result", "worker"), [RESULT, LATER], True),
        (Moment("result", "runtime", "gpu1"), [RESULT], True),
        (Moment("result", "runtime", "gpu2"), [RESULT, LATER], False),
        (Moment("phase", "apply gateway"), [LATER], False),
        (Moment("phase", "apply network"), [LATER], True),
    ],
)
def test_moments(moment: Moment, events: list[dict[str, object]], *, has_come: bool) -> None:
    assert moment.is_in(events) is has_come


def test_every_stage_of_ansible_has_its_middle_and_its_end() -> None:
    ansible = {moment.of for moment in WAY if moment.event == "result"}
    assert ansible == {moment.of for moment in WAY if moment.event == "play_end"}
    assert ansible == set(stage_names(runner=Runner.ANSIBLE))
    applied = {moment.of.removeprefix("apply ") for moment in WAY if moment.event == "phase"}
    assert applied == set(stage_names(runner=Runner.PYTHON))


def test_differences_are_named() -> None:
    before = {"gpu1": {"files": {"/etc/a": [True, "0o100644", 0, 0]}, "around": ["/etc/a"]}}
    after = {"gpu1": {"files": {"/etc/a": [False, "0o100644", 0, 0]}, "around": ["/etc/a", "/etc/a.partial"]}}
    assert differences(before, before) == []
    assert differences(before, after) == [
        "gpu1 files /etc/a: [True, '0o100644', 0, 0] became [False, '0o100644', 0, 0]",
        "gpu1 around /etc/a.partial: not there became there",
    ]


def test_a_plan_is_read_as_it_is_printed() -> None:
    drift = Drift("/etc/containerd/config.toml", "-a")
    stages = (
        StagePlan("gpu1", "base", Verdict.IN_SYNC),
        StagePlan("gpu1", "runtime", Verdict.DRIFTED, drifts=(drift,)),
        StagePlan("gpu2", "base", Verdict.CHANGED, ("variable base_limits",)),
    )
    found = read_plan(json.loads(json.dumps(plan_json(Plan(stages), ()))))
    assert found.stages == {("gpu1", "runtime"): "drifted", ("gpu2", "base"): "changed"}
    assert list(found.reasons.values()) == ["/etc/containerd/config.toml", "variable base_limits"]
    assert read_plan(plan_json(Plan(stages[:1]), ())).empty


@pytest.mark.parametrize(
    "plan",
    [
        Plan((), push=("llmprov.internal/files:1",)),
        Plan((), objects=(ObjectPlan("models", ObjectAction.PRUNE, "Service llmprov-models/a"),)),
        Plan((), troubles=(Trouble("models", "smollm2 is not ready"),)),
        Plan((), objects_unknown="the API does not answer"),
    ],
)
def test_what_is_no_stage_counts_too(plan: Plan) -> None:
    found = read_plan(json.loads(json.dumps(plan_json(plan, ()))))
    assert not found.empty
    assert len(found.rest) == 1


def test_a_look_sees_what_is_not_as_recorded(tmp_path: Path) -> None:
    managed = [tmp_path / name for name in ("as-written", "edited", "removed")]
    for path in managed:
        path.write_text("written", encoding="utf-8")
    sha256 = hashlib.sha256(b"written").hexdigest()
    record = {
        "schema": 2,
        "stage": "base",
        "fingerprint": "f",
        "finished": "now",
        "files": dict.fromkeys(map(str, managed), sha256),
    }
    (tmp_path / "base.json").write_text(json.dumps(record), encoding="utf-8")
    managed[1].write_text("something else", encoding="utf-8")
    managed[2].unlink()
    script = LOOK.replace("/var/lib/llmprov/stages", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    look = json.loads(done.stdout)
    assert [look["files"][str(path)] and look["files"][str(path)][0] for path in managed] == [True, False, None]
    assert look["records"]["base"]["fingerprint"] == "f"
    assert "finished" not in look["records"]["base"]
    assert "/etc/passwd" in look["around"]
