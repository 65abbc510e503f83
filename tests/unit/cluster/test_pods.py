from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmprov.cluster.objects import Event, Pod
from llmprov.cluster.pods import activity, failure, timing

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def at(seconds_ago: float) -> str:
    return (NOW - timedelta(seconds=seconds_ago)).isoformat()


def pod(*, state: dict[str, Any] | None = None, age: float = 10, node: str = "gpu1", **status: Any) -> Pod:  # noqa: ANN401
    containers = [{"name": "vllm", "state": state or {}, **status.pop("container", {})}]
    return Pod.model_validate(
        {
            "metadata": {"name": "p1", "uid": "u1", "creationTimestamp": at(age)},
            "spec": {"nodeName": node, "containers": [{"name": "vllm", "image": "i"}]},
            "status": {"containerStatuses": containers if state is not None else [], **status},
        }
    )


def event(reason: str, message: str) -> Event:
    return Event.model_validate({"metadata": {"name": "e"}, "reason": reason, "message": message})


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def unscheduled(seconds: float) -> Pod:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available.",
        "lastTransitionTime": at(seconds),
    }
    return pod(node="", conditions=[condition])


READY = {"type": "Ready", "status": "True", "lastTransitionTime": at(5)}
PULLING = event("Pulling", 'Pulling image "llmprov.internal/vllm@sha256:00"')
PULLED = event(
    "Pulled", 'Successfully pulled image "llmprov.internal/vllm@sha256:00" in 1m8.5s (1m9s including waiting)'
)


@pytest.mark.parametrize(
    ("given", "events", "expected"),
    [
        (unscheduled(5), (), "waiting for a node: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        (pod(node=""), (), "waiting for a node"),
        (pod(), (), "scheduled on gpu1"),
        (pod(state=waiting("ContainerCreating")), (PULLING,), "pulling vllm on gpu1"),
        (pod(state=waiting("ContainerCreating")), (PULLING, PULLED), "scheduled on gpu1"),
        (pod(state=waiting("ErrImagePull")), (), "ErrImagePull on gpu1"),
        (pod(state={"running": {"startedAt": at(34)}}), (), "starting engine on gpu1 (34 s)"),
        (pod(state={"running": {}}, conditions=[READY]), (), "ready"),
    ],
)
def test_activity(given: Pod, events: tuple[Event, ...], expected: str) -> None:
    assert activity(given, events, NOW) == expected


def test_a_pod_that_is_being_deleted_is_stopping_and_no_failure() -> None:
    stopping = Pod.model_validate({"metadata": {"name": "p", "deletionTimestamp": at(1)}})
    assert activity(stopping, (), NOW) == "stopping"
    assert failure(stopping, (), NOW) is None


def test_no_gpu_is_a_failure_only_after_a_minute() -> None:
    assert failure(unscheduled(30), (), NOW) is None
    lost = failure(unscheduled(61), (), NOW)
    assert lost is not None
    assert "Insufficient nvidia.com/gpu" in lost.reason


def test_a_pull_that_may_still_succeed_is_given_a_minute() -> None:
    trouble = waiting("ImagePullBackOff", "Back-off pulling image")
    assert failure(pod(state=trouble, age=30), (), NOW) is None
    late = failure(pod(state=trouble, age=90), (), NOW)
    assert late is not None
    assert "push" in late.remedy


def test_an_image_that_does_not_exist_is_a_failure_at_once() -> None:
    wrapped = 'rpc error: desc = failed to pull and unpack image "x": failed to resolve reference "x": x: not found'
    error = event("Failed", f'Failed to pull image "x": {wrapped}')
    lost = failure(pod(state=waiting("ImagePullBackOff", "Back-off"), age=5), (error,), NOW)
    assert lost is not None
    assert lost.reason.endswith('Failed to pull image "x": rpc error: desc = x: not found')


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"terminated": {"exitCode": 1, "reason": "Error"}}, "exit code 1"),
        ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "out of memory"),
        ({}, "crashed"),
    ],
)
def test_a_crash_loop_says_how_it_ended_and_where_the_log_is(last: dict[str, Any], words: str) -> None:
    lost = failure(pod(state=waiting("CrashLoopBackOff"), container={"restartCount": 3, "lastState": last}), (), NOW)
    assert lost is not None
    assert words in lost.reason
    assert "3 restarts" in lost.reason
    assert lost.container == "vllm"


def test_a_container_that_cannot_be_made_is_hopeless() -> None:
    lost = failure(pod(state=waiting("CreateContainerConfigError", "no such secret")), (), NOW)
    assert lost is not None
    assert "no such secret" in lost.reason


def test_mounts_that_fail_for_two_minutes() -> None:
    trouble = event("FailedMount", "image volume: unauthorized")
    assert failure(pod(state=waiting("ContainerCreating"), age=60), (trouble,), NOW) is None
    lost = failure(pod(state=waiting("ContainerCreating"), age=130), (trouble,), NOW)
    assert lost is not None
    assert "image volume: unauthorized" in lost.reason
    running = pod(state={"running": {"startedAt": at(1)}}, age=130)
    assert failure(running, (trouble,), NOW) is None


def test_timing_adds_pulls_and_measures_the_engine() -> None:
    ready = pod(state={"running": {"startedAt": at(40)}}, conditions=[READY])
    weights = event("Pulled", 'Successfully pulled image "m@sha256:1" in 1.5s (1.5s including waiting)')
    found = timing(ready, (PULLED, weights))
    assert found.pull_seconds == pytest.approx(70.0)
    assert found.engine_start_seconds == pytest.approx(35.0)


def test_timing_of_images_that_were_there() -> None:
    present = event("Pulled", 'Container image "x" already present on machine')
    assert timing(pod(), (present,)).pull_seconds == 0.0
    assert timing(pod(), ()).pull_seconds is None
    assert timing(pod(), ()).engine_start_seconds is None
