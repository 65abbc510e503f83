"""One stage of one host: which verdict, and whether the reason is the one that a person would give."""

from collections.abc import Mapping

import pytest

from llmprov.errors import InstallError
from llmprov.host_state import FileState, HostProbe, UnitState
from llmprov.plans import Drift, Plan, StagePlan, Verdict
from llmprov.stages import StageRecord, find_stage, fingerprint
from llmprov.workflows.plan_hosts import LATER, compare, refuse_newer

INPUTS = {"role runtime": "r1", "variable runtime_pod_mtu": "v1", "artifact runc": "a1"}
RUNNING = UnitState("loaded", "active", "enabled")
AS_WRITTEN = FileState("f1")
CONFIG = "/etc/containerd/config.toml"


def record(stage: str = "runtime", inputs: Mapping[str, str] = INPUTS, schema: int = 2) -> StageRecord:
    return StageRecord(
        stage=stage,
        fingerprint=fingerprint(inputs),
        files={CONFIG: "f1"},
        finished="2026-01-01T00:00:00Z",
        inputs=inputs,
        units=("containerd.service",),
        packages={"chrony": "4.5"},
        schema=schema,
    )


def probe(
    *,
    recorded: StageRecord | None = None,
    file: FileState = AS_WRITTEN,
    unit: UnitState = RUNNING,
    chrony: str | None = "4.5",
    joined: bool = False,
) -> HostProbe:
    recorded = recorded or record()
    return HostProbe(
        host="gpu1",
        facts={"kubernetes": {"kubelet_joined": joined, "control_plane": False}},
        records={recorded.stage: recorded},
        files={CONFIG: file},
        units=dict.fromkeys(recorded.units, unit),
        packages={"chrony": chrony},
    )


def plan(found: HostProbe, inputs: Mapping[str, str] = INPUTS, stage: str = "runtime") -> StagePlan:
    return compare(find_stage(stage), found, inputs)


def test_what_is_as_recorded_is_in_sync() -> None:
    assert plan(probe()) == StagePlan("gpu1", "runtime", Verdict.IN_SYNC)


def test_without_a_record_a_stage_is_missing() -> None:
    found = plan(HostProbe("gpu1", {}))
    assert (found.verdict, found.reasons) == (Verdict.MISSING, ("it never finished here",))


def test_a_damaged_record_is_missing_and_says_so() -> None:
    found = plan(HostProbe("gpu1", {}, damaged={"runtime": "Expecting value: line 1"}))
    assert found.verdict is Verdict.MISSING
    assert "cannot be read: Expecting value" in found.reasons[0]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (INPUTS | {"variable runtime_pod_mtu": "v2"}, "variable runtime_pod_mtu"),
        (INPUTS | {"artifact runc": "a2"}, "artifact runc"),
        (INPUTS | {"role runtime": "r2"}, "role runtime"),
        (INPUTS | {"artifact crun": "a3"}, "artifact crun"),
        ({key: value for key, value in INPUTS.items() if key != "artifact runc"}, "artifact runc"),
    ],
)
def test_a_changed_input_is_named(inputs: Mapping[str, str], reason: str) -> None:
    found = plan(probe(), inputs)
    assert (found.verdict, found.reasons) == (Verdict.CHANGED, (reason,))


def test_a_record_of_an_older_version_is_changed() -> None:
    assert plan(probe(recorded=record(schema=1))).reasons == ("an older llmprov finished it",)


def test_an_edited_file_is_drift_and_keeps_its_difference() -> None:
    found = plan(probe(file=FileState("f2", "-a\n+b")))
    assert (found.verdict, found.drifts) == (Verdict.DRIFTED, (Drift(CONFIG, "-a\n+b"),))


def test_a_removed_file_is_drift() -> None:
    assert plan(probe(file=FileState(None))).drifts == (Drift(CONFIG, removed=True),)


def test_drift_of_a_changed_stage_goes_with_the_change() -> None:
    found = plan(probe(file=FileState("f2")), INPUTS | {"artifact runc": "a2"})
    assert (found.verdict, len(found.drifts)) == (Verdict.CHANGED, 1)


@pytest.mark.parametrize(
    ("unit", "trouble"),
    [
        (UnitState("masked", "inactive", "masked"), "masked"),
        (UnitState("loaded", "failed", "enabled"), "failed"),
        (UnitState("not-found", "inactive", ""), "not-found"),
    ],
)
def test_a_unit_that_does_not_run_is_unhealthy(unit: UnitState, trouble: str) -> None:
    found = plan(probe(unit=unit))
    assert (found.verdict, found.reasons) == (Verdict.UNHEALTHY, (f"unit containerd.service is {trouble}",))


@pytest.mark.parametrize(("joined", "verdict"), [(False, Verdict.IN_SYNC), (True, Verdict.UNHEALTHY)])
def test_the_kubelet_has_to_run_once_the_host_has_joined(joined: bool, verdict: Verdict) -> None:  # noqa: FBT001
    recorded = StageRecord("kubernetes", "f", {}, "", inputs=INPUTS, units=("kubelet.service",))
    found = probe(recorded=recorded, unit=UnitState("loaded", "inactive", "enabled"), joined=joined)
    assert plan(found, stage="kubernetes").verdict is verdict


@pytest.mark.parametrize("version", [None, "4.6"])
def test_a_package_that_went_or_changed_is_unhealthy(version: str | None) -> None:
    found = plan(probe(chrony=version))
    assert found.verdict is Verdict.UNHEALTHY
    assert "package chrony" in found.reasons[0]


def test_a_worker_that_left_the_cluster_is_unhealthy() -> None:
    recorded = StageRecord("worker", "f", {}, "", inputs=INPUTS)
    assert plan(probe(recorded=recorded, joined=True), stage="worker").verdict is Verdict.IN_SYNC
    assert plan(probe(recorded=recorded, joined=False), stage="worker").verdict is Verdict.UNHEALTHY


def test_what_only_new_members_take_up_is_said() -> None:
    recorded = StageRecord("worker", "f", {}, "", inputs=INPUTS)
    changed = INPUTS | {"variable worker_join_configuration": "x"}
    assert plan(probe(recorded=recorded, joined=True), changed, "worker").reasons == (
        "variable worker_join_configuration",
        LATER,
    )


def test_records_of_a_newer_version_are_refused_with_a_way_on() -> None:
    refuse_newer([probe()])
    with pytest.raises(InstallError) as caught:
        refuse_newer([HostProbe("gpu1", {}, newer={"runtime": 9}), probe()])
    assert "gpu1" in caught.value.message
    assert caught.value.details == (
        "gpu1: /var/lib/llmprov/stages/runtime.json has schema 9, this llmprov knows up to 2",
    )
    assert "remove the named records" in caught.value.remedy


def test_what_an_install_runs() -> None:
    plans = (
        StagePlan("cp1", "base", Verdict.IN_SYNC),
        StagePlan("gpu1", "base", Verdict.CHANGED),
        StagePlan("gpu2", "base", Verdict.UNREACHABLE),
        StagePlan("cp1", "runtime", Verdict.DRIFTED),
        StagePlan("gpu1", "runtime", Verdict.MISSING),
    )
    assert Plan(plans).to_run() == {"base": ("gpu1",), "runtime": ("gpu1",)}
    assert Plan(plans).to_run(repair_drift=True) == {"base": ("gpu1",), "runtime": ("cp1", "gpu1")}
    assert Plan(plans).unreachable == ("gpu2",)
    assert not Plan(plans).empty
    assert Plan(plans[:1]).empty
    assert not Plan(plans[:1], push=("llmprov/files:bundle",)).empty
