"""Waits until workloads run what they were told to, saying what they do meanwhile and why they cannot."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import (
    DEPLOYMENT,
    EVENT,
    POD,
    REPLICA_SET,
    Event,
    Header,
    Kind,
    Pod,
)
from llmprov.cluster.pods import Failure, ReplicaTiming, activity, failure, timing, utc_now
from llmprov.cluster.wait import Selection, watch_until
from llmprov.cluster.workloads import REVISION, DaemonSet, Deployment
from llmprov.errors import ClusterError, ShortOfNodesError, joined
from llmprov.progress import Progress, Step

TEMPLATE_HASH = "pod-template-hash"
_LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or DaemonSet to wait for.

    Attributes:
        kind: which of the two.
        namespace: where it is.
        name: its name.
        labels: of its pods.
        seconds: how long it may take.
        title: of its step in the progress display.
    """

    kind: Kind
    namespace: str
    name: str
    labels: Mapping[str, str]
    seconds: float
    title: str

    def owns(self, pod: Pod) -> bool:
        """Whether a pod is one of its; one that a drain let go is not."""
        return not pod.let_go and all(pod.metadata.labels.get(key) == value for key, value in self.labels.items())


type Outcome = tuple[ReplicaTiming, ...] | ClusterError
"""How long each replica took, or why the workload is not up."""


def wait_rolled_out(
    cluster: Cluster, namespace: str, workloads: Sequence[Workload], progress: Progress
) -> Mapping[str, tuple[ReplicaTiming, ...]]:
    """Wait until every replica of every workload is of the newest template and ready; all are watched together.

    Returns:
        How long each replica took, by the workload's name.

    Raises:
        ClusterError: pods cannot come up (with their last log lines), or the time is over (with what each pod does).
            One that fails does not hide another.
    """
    outcomes = outcomes_of(cluster, namespace, workloads, progress)
    errors = [outcome for outcome in outcomes.values() if isinstance(outcome, ClusterError)]
    if errors:
        raise workloads_failed(errors)
    return {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, ClusterError)}


def outcomes_of(
    cluster: Cluster, namespace: str, workloads: Sequence[Workload], progress: Progress
) -> Mapping[str, Outcome]:
    """Wait like `wait_rolled_out`, and say of each workload what became of it."""
    with ExitStack() as steps:
        rollouts = [_Rollout(cluster, item, steps.enter_context(progress.step(item.title))) for item in workloads]

        def decide(items: Sequence[Object]) -> bool | None:
            # Those that ended stay listed for a while; others have taken their places.
            found = [pod for pod in map(Pod.model_validate, items) if not pod.ended]
            pods = [pod for pod in found if pod.metadata.deletion_timestamp is None]
            events = _events(cluster, namespace)
            for rollout in rollouts:
                mine = [pod for pod in pods if rollout.workload.owns(pod)]
                # What a replica that stops still holds is about to be free.
                rollout.look(mine, events, freeing=len(pods) < len(found))
            return True if all(rollout.over for rollout in rollouts) else None

        longest = max((item.seconds for item in workloads), default=0.0)
        watch_until(cluster, Selection(POD, namespace), decide, seconds=longest)
        return {rollout.workload.name: rollout.outcome() for rollout in rollouts}


def workloads_failed(errors: Sequence[ClusterError]) -> ClusterError:
    """Make one error of those of several workloads."""
    return joined(ClusterError, f"{len(errors)} workloads cannot start", errors)


@dataclass
class _Rollout:
    """One workload on its way."""

    cluster: Cluster
    workload: Workload
    step: Step
    timings: tuple[ReplicaTiming, ...] = ()
    over: bool = False
    error: ClusterError | None = None
    last: tuple[str, ...] = ()
    started: float = field(default_factory=time.monotonic)

    def look(self, pods: Sequence[Pod], events: Sequence[Event], *, freeing: bool) -> None:
        """Decide whether it is up, on its way or lost."""
        if self.over:
            return
        try:
            self.over = self._check(pods, events, freeing=freeing)
        except ClusterError as error:
            self.over, self.error = True, error
            self.step.update("failed")

    def outcome(self) -> Outcome:
        """What became of it, once nothing is waited for any more."""
        if not self.over:
            return self._too_late()
        return self.timings if self.error is None else self.error

    def _too_late(self) -> ClusterError:
        item = self.workload
        return ClusterError(
            f"{item.kind.kind} {item.namespace}/{item.name} is not ready after {time.monotonic() - self.started:.0f} s",
            remedy="give it more time (timeouts.startup_seconds in the model's file) or look at what it does below",
            details=self.last or ("it has no pods",),
        )

    def _check(self, pods: Sequence[Pod], events: Sequence[Event], *, freeing: bool) -> bool:
        owner = _owner(self.cluster, self.workload)
        ready = sum(pod.ready for pod in pods)
        # Right after the last step an old pod may still be there that nobody has told to stop yet.
        if owner.rolled_out and ready == len(pods) <= owner.wanted:
            self.timings = tuple(timing(pod, _of(events, pod)) for pod in pods)
            self.step.update("", done=max(ready, 1), total=max(ready, 1))
            return True
        _check_owner(owner)
        now = utc_now()
        for pod in pods:
            lost = failure(pod, _of(events, pod), now, freeing=freeing)
            if lost and owner.observed and self._is_newest(pod):
                raise self._lost(lost, ready=ready)
        doing = {pod.metadata.name: activity(pod, _of(events, pod), now) for pod in pods}
        self.last = tuple(f"{name}: {what}" for name, what in doing.items())
        busy = dict.fromkeys(what for what in doing.values() if what != "ready")
        self.step.update("; ".join(busy) or "waiting for pods", done=ready, total=max(len(pods), 1))
        if time.monotonic() - self.started > self.workload.seconds:
            raise self._too_late()
        return False

    def _is_newest(self, pod: Pod) -> bool:
        """Whether a pod is of the newest template: what is wrong with an old one is about to be gone."""
        selector = ",".join(f"{key}={value}" for key, value in self.workload.labels.items())
        listed = self.cluster.list(REPLICA_SET, self.workload.namespace, selector=selector).items
        sets = [Header.model_validate(item).metadata for item in listed]
        if self.workload.kind != DEPLOYMENT or not sets:
            return True
        newest = max(sets, key=lambda meta: int(meta.annotations.get(REVISION, "0")))
        return pod.metadata.labels.get(TEMPLATE_HASH) == newest.labels.get(TEMPLATE_HASH)

    def _lost(self, lost: Failure, *, ready: int) -> ClusterError:
        lines: tuple[str, ...] = ()
        if lost.container:
            where = (self.workload.namespace, lost.pod, lost.container)
            lines = self.cluster.log(*where, lines=_LOG_LINES, previous=True)
            lines = lines or self.cluster.log(*where, lines=_LOG_LINES)
        kind = ShortOfNodesError if lost.homeless and ready else ClusterError
        return kind(f"{self.workload.name}: pod {lost.pod}: {lost.reason}", remedy=lost.remedy, details=lines)


def _owner(cluster: Cluster, workload: Workload) -> Deployment | DaemonSet:
    found = cluster.get(workload.kind, workload.name, workload.namespace)
    if found is None:
        raise ClusterError(
            f"{workload.kind.kind} {workload.namespace}/{workload.name} is gone while it was waited for",
            remedy="somebody deleted it: run `llmprov install` again",
        )
    return Deployment.model_validate(found) if workload.kind == DEPLOYMENT else DaemonSet.model_validate(found)


def _check_owner(owner: Deployment | DaemonSet) -> None:
    refused = owner.status.condition("ReplicaFailure")
    if refused is not None and refused.status == "True":
        raise ClusterError(
            f"{owner.label}: its pods are refused: {refused.message}",
            remedy="read the reason: a quota or an admission policy of the namespace forbids these pods",
        )


def _events(cluster: Cluster, namespace: str) -> tuple[Event, ...]:
    listed = cluster.list(EVENT, namespace, fields="involvedObject.kind=Pod").items
    return tuple(Event.model_validate(item) for item in listed)


def _of(events: Sequence[Event], pod: Pod) -> tuple[Event, ...]:
    return tuple(event for event in events if event.involved_object.uid == pod.metadata.uid)
