"""What a serving pod is doing, and why it does not serve: pure functions over what the API says of it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from llmprov.cluster.objects import ContainerStatus, Event, Pod

# The kubelet does not come back from these without a change to the object.
_HOPELESS = frozenset(
    {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
_PULL_TROUBLE = frozenset({"ImagePullBackOff", "ErrImagePull", "RegistryUnavailable", "SignatureValidationFailed"})
_CRASH = "CrashLoopBackOff"
_PULL_GRACE = 60.0
_SCHEDULE_GRACE = 60.0
_MOUNT_GRACE = 120.0
_PULLED = re.compile(r'Successfully pulled image "(?P<image>[^"]+)" in (?P<took>[0-9hms.µn]+)')
_WRAPPING = re.compile(r'failed to [a-z ]+ "[^"]+": ')
_DURATION = re.compile(r"([0-9.]+)(h|ms|m|s|µs|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pod will not serve: one sentence, what to do, and what it said last."""

    pod: str
    reason: str
    remedy: str
    container: str = ""
    """The container whose log tells more; empty when there is none."""
    homeless: bool = False
    """Whether all that it lacks is a node with room."""


@dataclass(frozen=True, slots=True)
class ReplicaTiming:
    """How long a replica took, in seconds; None where the cluster no longer knows."""

    pod: str
    node: str
    pull_seconds: float | None
    engine_start_seconds: float | None


def activity(pod: Pod, events: Sequence[Event], now: datetime) -> str:
    """Say in a few words what a pod is doing."""
    if pod.metadata.deletion_timestamp is not None:
        return "stopping"
    if pod.ready:
        return "ready"
    if not pod.spec.node_name:
        scheduled = pod.status.condition("PodScheduled")
        return f"waiting for a node: {_scheduling(scheduled.message)}" if scheduled else "waiting for a node"
    where = f"on {pod.spec.node_name}"
    state = next((status.state for status in pod.status.container_statuses), None)
    if state is not None and state.running is not None:
        started = state.running.started_at
        return f"starting engine {where} ({_age(started, now):.0f} s)" if started else f"starting engine {where}"
    if state is not None and state.waiting is not None and state.waiting.reason not in {"", "ContainerCreating"}:
        return f"{state.waiting.reason} {where}"
    pulling = _pulling(events)
    return f"pulling {_short(pulling)} {where}" if pulling else f"scheduled {where}"


def failure(pod: Pod, events: Sequence[Event], now: datetime, *, freeing: bool = False) -> Failure | None:
    """Say why a pod will not come up, or None while it still may.

    What can pass by itself (a registry that restarts, GPUs that are being freed) is given a minute or two first.

    Args:
        pod: that may not serve yet.
        events: about it.
        now: to compare the API's timestamps with.
        freeing: whether other pods are stopping, whose place it may get.
    """
    if pod.metadata.deletion_timestamp is not None or pod.ready:
        return None
    return (None if freeing else _unscheduled(pod, now)) or _container(pod, events, now) or _mounts(pod, events, now)


def timing(pod: Pod, events: Iterable[Event]) -> ReplicaTiming:
    """Say how long a ready pod took to pull its images and to start its engine."""
    pulls = [_seconds(found["took"]) for event in events if (found := _PULLED.search(event.message))]
    already = any("already present on machine" in event.message for event in events)
    pull = sum(pulls) if pulls else (0.0 if already else None)
    started = next((s.state.running.started_at for s in pod.status.container_statuses if s.state.running), None)
    ready = pod.status.condition("Ready")
    since = ready.last_transition_time if ready else None
    start = (since - started).total_seconds() if since and started else None
    return ReplicaTiming(pod.metadata.name, pod.spec.node_name, pull, start)


def _unscheduled(pod: Pod, now: datetime) -> Failure | None:
    condition = pod.status.condition("PodScheduled")
    if condition is None or condition.status != "False" or _age(condition.last_transition_time, now) < _SCHEDULE_GRACE:
        return None
    return Failure(
        pod.metadata.name,
        f"no node can take it: {_scheduling(condition.message)}",
        "free GPUs (`llmprov status` counts them), add a GPU worker, or ask for fewer in the model's file",
        homeless=True,
    )


def _container(pod: Pod, events: Sequence[Event], now: datetime) -> Failure | None:
    for status in pod.status.container_statuses:
        waiting = status.state.waiting
        if waiting is None:
            continue
        if waiting.reason in _HOPELESS:
            return Failure(
                pod.metadata.name,
                f"{waiting.reason}: {waiting.message}",
                "correct the image or settings named above in the model's file",
                container=status.name,
            )
        if waiting.reason in _PULL_TROUBLE and _pull_is_lost(pod, waiting.message, events, now):
            return Failure(
                pod.metadata.name,
                f"an image cannot be pulled on {pod.spec.node_name}: {_pull_error(events) or waiting.message}",
                "push it again (`llmprov bundle push`, `llmprov model push`) and check that the registry is up",
            )
        if waiting.reason == _CRASH:
            return Failure(
                pod.metadata.name,
                f"the engine on {pod.spec.node_name} {_ending(status)}, {status.restart_count} restarts",
                "read its last lines below; the engine's arguments and environment are in the model's file",
                container=status.name,
            )
    return None


def _mounts(pod: Pod, events: Sequence[Event], now: datetime) -> Failure | None:
    trouble = [event for event in events if event.reason in {"FailedMount", "FailedCreatePodSandBox"}]
    if not trouble or _age(pod.metadata.creation_timestamp, now) < _MOUNT_GRACE:
        return None
    if any(status.state.running for status in pod.status.container_statuses):
        return None
    return Failure(
        pod.metadata.name,
        f"{trouble[-1].reason} on {pod.spec.node_name}: {trouble[-1].message}",
        f"look at the runtime of {pod.spec.node_name}: journalctl -u kubelet -u containerd",
    )


def _pull_is_lost(pod: Pod, message: str, events: Sequence[Event], now: datetime) -> bool:
    text = f"{message} {_pull_error(events)}"
    return "not found" in text or _age(pod.metadata.creation_timestamp, now) > _PULL_GRACE


def _pull_error(events: Sequence[Event]) -> str:
    errors = [e.message for e in events if e.reason == "Failed" and "pull" in e.message and ":" in e.message]
    # containerd repeats the image at every level of its error.
    return _WRAPPING.sub("", errors[-1]) if errors else ""


def _scheduling(message: str) -> str:
    """Leave out why preemption would not help: it says the same again."""
    return message.partition(" preemption:")[0] or "not scheduled yet"


def _pulling(events: Sequence[Event]) -> str:
    started = {found[1] for e in events if e.reason == "Pulling" and (found := re.search(r'"([^"]+)"', e.message))}
    done = {found["image"] for event in events if (found := _PULLED.search(event.message))}
    return next(iter(sorted(started - done)), "")


def _short(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2]


def _ending(status: ContainerStatus) -> str:
    last = status.last_state.terminated
    if last is None:
        return "crashed"
    if last.reason == "OOMKilled":
        return "ran out of memory (OOMKilled): raise resources.memory in the model's file"
    return f"ended with exit code {last.exit_code}" + (f" ({last.reason})" if last.reason else "")


def _seconds(text: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else (now - since).total_seconds()


def utc_now() -> datetime:
    """The time to compare the API's timestamps with."""
    return datetime.now(UTC)
