"""Empties nodes: replicas of models go once others are ready, everything else as its disruption budgets allow."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.drain_plan import Plan, name, stays
from llmprov.cluster.evict import Answer, evict
from llmprov.cluster.nodes import cordon
from llmprov.cluster.objects import EVENT, POD, Event, Pod
from llmprov.cluster.pods import activity, failure, utc_now
from llmprov.cluster.replicas import Replicas, Standing, let_go, let_go_at
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError
from llmprov.node_states import Drained
from llmprov.progress import Progress, Step

_ASK_AGAIN = 5.0
"""Seconds until an eviction that a budget blocks is asked for again."""


def drain(
    cluster: Cluster,
    plan: Plan,
    replicas: Replicas,
    progress: Progress,
    *,
    seconds: float,
    check: Callable[[], None] = lambda: None,
) -> tuple[Drained, ...]:
    """Cordon the nodes of a plan, then empty one after the other.

    Interrupted, it goes on when it is called again with a new plan: replicas that were let go are marked.

    Args:
        cluster: where.
        plan: from `drain_plan.plan`.
        replicas: which pods are replaced before they go.
        progress: shows what each pod does that has to go.
        seconds: for all nodes together.
        check: called before each step; it raises to end the work, as when another operator has taken over.

    Raises:
        ClusterError: a replacement cannot start (what it was to replace goes on serving), or the time is over; the
            details say what each pod that is left does, and which budget blocks it.
    """
    for node in plan.nodes:
        cordon(cluster, node)
    deadline = time.monotonic() + seconds
    done = []
    for node in plan.nodes:
        with progress.step(f"drain {node}") as step:
            done.append(_Drain(cluster, plan, replicas, node, step, check).run(deadline, seconds))
    return tuple(done)


def finish(
    cluster: Cluster,
    node: str,
    replicas: Replicas,
    progress: Progress,
    *,
    seconds: float,
    check: Callable[[], None] = lambda: None,
) -> tuple[str, ...]:
    """Let the replicas go that an interrupted drain let go on a node, once others serve in their place; as `drain`.

    Returns:
        Those that were told to stop.

    Raises:
        ClusterError: the time is over; those that are left go on serving.
    """
    standing = Standing(cluster, replicas)
    gone: list[str] = []
    left: dict[str, str] = {}
    with progress.step(f"replicas that a drain of {node} let go") as step:

        def decide(items: Sequence[Object]) -> bool | None:
            check()
            pods = [Pod.model_validate(item) for item in items]
            standing.look(pods)
            here = [pod for pod in pods if _is_let_go(pod) and pod.spec.node_name == node]
            left.clear()
            for pod in here:
                if standing.replaced(pod, pods):
                    cluster.delete(POD, pod.metadata.name, pod.metadata.namespace)
                    gone.append(name(pod))
                else:
                    left[name(pod)] = "waits for another replica"
            step.update(", ".join(left), done=len(gone), total=len(gone) + len(left))
            return None if left else True

        if watch_until(cluster, Selection(POD, replicas.namespace), decide, seconds=seconds) is None:
            raise _late(node, left, seconds, "llmprov node uncordon")
    return tuple(gone)


@dataclass
class _Drain:
    """One node on its way to empty."""

    cluster: Cluster
    plan: Plan
    replicas: Replicas
    node: str
    step: Step
    check: Callable[[], None]
    replaced: dict[str, str] = field(default_factory=dict)
    evicted: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, tuple[float, str]] = field(default_factory=dict)
    doing: dict[str, str] = field(default_factory=dict)
    staying: int = 0

    def __post_init__(self) -> None:
        self.standing = Standing(self.cluster, self.replicas)

    def run(self, deadline: float, seconds: float) -> Drained:
        """Work until nothing is left that has to go."""
        began = time.monotonic()
        if watch_until(self.cluster, Selection(POD), self._look, seconds=deadline - began) is None:
            raise _late(self.node, self.doing, seconds, "llmprov node drain")
        return Drained(
            self.node,
            tuple(self.replaced.values()),
            tuple(self.evicted.values()),
            self.staying,
            time.monotonic() - began,
        )

    def _look(self, items: Sequence[Object]) -> bool | None:
        self.check()
        pods = [Pod.model_validate(item) for item in items]
        # What is about to leave stands in for nobody.
        self.standing.look(pod for pod in pods if pod.spec.node_name != self.node)
        here = [pod for pod in pods if pod.spec.node_name == self.node]
        going = [pod for pod in here if not stays(pod)]
        self.staying = len(here) - len(going)
        self.doing = {name(pod): self._treat(pod, pods) for pod in going}
        gone = (self.replaced.keys() | self.evicted.keys()) - {pod.metadata.uid for pod in going}
        words = (f"{pod.partition('/')[2]}: {what}" for pod, what in self.doing.items())
        self.step.update("; ".join(words), done=len(gone), total=len(gone) + len(going))
        return None if going else True

    def _treat(self, pod: Pod, pods: Sequence[Pod]) -> str:
        """Bring a pod one step further; return what it does."""
        if pod.metadata.deletion_timestamp is not None:
            return "stopping"
        if _is_let_go(pod) and pod.ready:
            if not self.standing.replaced(pod, pods):
                return self._replacement(pod, pods)
            self.cluster.delete(POD, pod.metadata.name, pod.metadata.namespace)
            self.replaced[pod.metadata.uid] = name(pod)
            return "stopping, another replica serves"
        if self._moves(pod):
            let_go(self.cluster, pod, self._enough(pod, pods))
            return "goes on serving until another replica is ready"
        return self._evict(pod)

    def _moves(self, pod: Pod) -> bool:
        return self.replicas.owned(pod) and pod.ready and pod.metadata.uid not in self.plan.evicted

    def _enough(self, pod: Pod, pods: Sequence[Pod]) -> int:
        """How many replicas must be ready without it: as many as now, less those that stop without replacement."""
        model = self.replicas.owner(pod)
        before = [let_go_at(other) or 0 for other in pods if self.replicas.owner(other) == model]
        stopping = [other for other in pods if other.metadata.uid in self.plan.evicted]
        return max(self.replicas.ready(model, pods) - self.replicas.ready(model, stopping), *before)

    def _evict(self, pod: Pod) -> str:
        uid, now = pod.metadata.uid, time.monotonic()
        since, why = self.blocked.get(uid, (0.0, ""))
        if why and now - since < _ASK_AGAIN:
            return f"waits: {why}"
        asked = evict(self.cluster, pod)
        if asked.answer is Answer.BLOCKED:
            self.blocked[uid] = (now, asked.why)
            return f"waits: {asked.why}"
        self.blocked.pop(uid, None)
        self.evicted[uid] = name(pod)
        return "stopping"

    def _replacement(self, pod: Pod, pods: Sequence[Pod]) -> str:
        """Say what the replicas do that are to stand in; raise when one of them never will."""
        model = self.replicas.owner(pod)
        others = [
            other
            for other in pods
            if self.replicas.owned(other) and self.replicas.owner(other) == model and not other.ready
        ]
        coming = [other for other in others if not other.ended and other.spec.node_name != self.node]
        events = self.cluster.list(EVENT, self.replicas.namespace).items if coming else ()
        parsed = [Event.model_validate(item) for item in events]
        doing = [self._activity(other, parsed, pod) for other in coming]
        return f"goes on serving; another replica: {', '.join(doing) or 'ready in a moment'}"

    def _activity(self, pod: Pod, events: Sequence[Event], waiting: Pod) -> str:
        mine = [event for event in events if event.involved_object.uid == pod.metadata.uid]
        now = utc_now()
        lost = failure(pod, mine, now)
        # One that failed before has nothing to do with this drain.
        if lost is not None and pod.metadata.uid not in self.plan.known:
            raise ClusterError(
                f"{self.node}: the replica that was to replace {waiting.metadata.name} cannot start: {lost.reason}",
                remedy=f"{lost.remedy}; then run the same command again, or llmprov node uncordon {self.node}",
                details=(f"{waiting.metadata.name} goes on serving; {self.node} takes no new pods",),
            )
        return lost.reason if lost else activity(pod, mine, now)


def _is_let_go(pod: Pod) -> bool:
    return let_go_at(pod) is not None and pod.metadata.deletion_timestamp is None


def _late(node: str, left: Mapping[str, str], seconds: float, verb: str) -> ClusterError:
    return ClusterError(
        f"{node} is not empty after {seconds:.0f} s: {len(left)} left; it takes no new pods"
        if "drain" in verb
        else f"{node}: {len(left)} replicas that were let go have no replacement after {seconds:.0f} s",
        remedy=f"see below what each waits for; `{verb} {node}` goes on where it stopped, --timeout gives it longer",
        details=tuple(f"{pod}: {what}" for pod, what in left.items()),
    )
