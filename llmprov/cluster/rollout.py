"""Waits until workloads run what they were told to, saying what they do meanwhile and why they cannot."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import DAEMONSET, DEPLOYMENT, EVENT, POD, DaemonSet, Deployment, Event, Kind, Pod
from llmprov.cluster.pods import Failure, ReplicaTiming, activity, failure, timing, utc_now
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError
from llmprov.progress import Progress, Step

_LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or DaemonSet whose pods carry `selector`."""

    kind: Kind
    namespace: str
    name: str
    selector: str


@dataclass
class _Watcher:
    """Decides, whenever a pod changed, whether the workload is up, on its way or lost."""

    cluster: Cluster
    workload: Workload
    step: Step
    last: tuple[str, ...] = field(default=())

    def decide(self, items: Sequence[Object]) -> tuple[ReplicaTiming, ...] | None:
        """Return the replicas' timings once the workload is rolled out; raise if a pod is lost."""
        owner = _owner(self.cluster, self.workload)
        found = [Pod.model_validate(item) for item in items]
        pods = [pod for pod in found if pod.metadata.deletion_timestamp is None]
        events = _events(self.cluster, self.workload.namespace)
        if owner.rolled_out and all(pod.ready for pod in pods):
            return tuple(timing(pod, _of(events, pod)) for pod in pods)
        _check_owner(owner)
        now = utc_now()
        for pod in pods:
            if lost := failure(pod, _of(events, pod), now):
                raise self._error(lost)
        self.last = tuple(f"{pod.metadata.name}: {activity(pod, _of(events, pod), now)}" for pod in pods)
        ready = sum(pod.ready for pod in pods)
        busy = [activity(pod, _of(events, pod), now) for pod in pods if not pod.ready]
        self.step.update("; ".join(dict.fromkeys(busy)) or "waiting for pods", done=ready, total=max(len(pods), 1))
        return None

    def _error(self, lost: Failure) -> ClusterError:
        lines: tuple[str, ...] = ()
        if lost.container:
            where = (self.workload.namespace, lost.pod, lost.container)
            lines = self.cluster.log(*where, lines=_LOG_LINES, previous=True) or self.cluster.log(
                *where, lines=_LOG_LINES
            )
        return ClusterError(f"{self.workload.name}: pod {lost.pod}: {lost.reason}", remedy=lost.remedy, details=lines)


def wait_rolled_out(
    cluster: Cluster, workload: Workload, progress: Progress, *, seconds: float, title: str = ""
) -> tuple[ReplicaTiming, ...]:
    """Wait until every replica is of the newest template and ready.

    Returns:
        How long each replica took.

    Raises:
        ClusterError: a pod cannot come up (with its last log lines), or the time is over (with what each pod does).
    """
    with progress.step(title or f"{workload.name} ready") as step:
        watcher = _Watcher(cluster, workload, step)
        selection = Selection(POD, workload.namespace, workload.selector)
        done = watch_until(cluster, selection, watcher.decide, seconds=seconds)
        if done is None:
            raise ClusterError(
                f"{workload.kind.kind} {workload.namespace}/{workload.name} is not ready after {seconds:.0f} s",
                remedy="give it more time (timeouts.startup_seconds in the model's file) or look at what it does below",
                details=watcher.last or ("it has no pods",),
            )
        return done


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


def deployment(namespace: str, name: str, selector: str) -> Workload:
    """Name a Deployment."""
    return Workload(DEPLOYMENT, namespace, name, selector)


def daemonset(namespace: str, name: str, selector: str) -> Workload:
    """Name a DaemonSet."""
    return Workload(DAEMONSET, namespace, name, selector)
