"""Replicas that are replaced before they go: let go by their ReplicaSet, which makes another one at once.

A pod without the label `pod-template-hash` is none of its ReplicaSet's any more, and is never adopted again, as the
selector asks for the label. The Service's selector does not: the pod goes on serving. (docs/adr/0020)
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import DEPLOYMENT, LET_GO, POD, Header, Pod, View
from llmprov.cluster.rollout import TEMPLATE_HASH
from llmprov.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Replicas:
    """Which pods are replicas that a Deployment replaces: those of a namespace with a label.

    The label's value is the name of the Deployment.
    """

    namespace: str
    label: str

    def owner(self, pod: Pod) -> str:
        """The Deployment that a pod serves for; empty when it is no replica."""
        return pod.metadata.labels.get(self.label, "") if pod.metadata.namespace == self.namespace else ""

    def ready(self, model: str, pods: Iterable[Pod]) -> int:
        """How many replicas of a model are ready, without those that were let go."""
        return sum(pod.ready and self.owned(pod) and self.owner(pod) == model for pod in pods)

    def owned(self, pod: Pod) -> bool:
        """Whether a pod is a replica that its ReplicaSet counts."""
        return bool(self.owner(pod)) and TEMPLATE_HASH in pod.metadata.labels and _owned(pod)


def let_go_at(pod: Pod) -> int | None:
    """How many ready replicas a pod that was let go waits for; None for any other pod."""
    text = pod.metadata.annotations.get(LET_GO, "")
    return int(text) if text.isdigit() else None


def let_go(cluster: Cluster, pod: Pod, replicas: int) -> None:
    """Take a replica from its ReplicaSet, which makes another one; it goes on serving.

    The mark and the loss of the label are one change: whoever finds the pod knows what is to become of it.

    Args:
        cluster: where.
        pod: the replica.
        replicas: how many must be ready without it before it goes.
    """
    change = {"labels": {TEMPLATE_HASH: None}, "annotations": {LET_GO: str(replicas)}}
    where = pod.metadata.namespace
    try:
        cluster.merge(POD, pod.metadata.name, {"metadata": change}, namespace=where)
    except ClusterError:
        if cluster.get(POD, pod.metadata.name, where) is not None:  # else it has gone by itself just now
            raise


class _Spec(View):
    replicas: int = 1
    min_ready_seconds: int = 0


class _Deployment(Header):
    spec: _Spec = _Spec()


@dataclass
class Standing:
    """Which replicas have been ready for long enough, seen from here: by this machine's clock alone."""

    cluster: Cluster
    replicas: Replicas
    _since: dict[str, float] = field(default_factory=dict)

    def look(self, pods: Iterable[Pod]) -> None:
        """Take note of which of these pods are ready now; only they count, so none of a node that is being emptied."""
        ready = {pod.metadata.uid for pod in pods if pod.ready and self.replicas.owned(pod)}
        now = time.monotonic()
        self._since = {uid: self._since.get(uid, now) for uid in ready}

    def replaced(self, pod: Pod, pods: Iterable[Pod]) -> bool:
        """Whether a replica that was let go may go: enough others are ready, and everybody has learned of them.

        Fewer are enough when the model is to have fewer now; none when it is gone.
        """
        model = self.replicas.owner(pod)
        found = self.cluster.get(DEPLOYMENT, model, self.replicas.namespace)
        if found is None:
            return True
        spec = _Deployment.model_validate(found).spec
        settled = time.monotonic() - spec.min_ready_seconds
        enough = min(spec.replicas, let_go_at(pod) or 0)
        standing = [
            other
            for other in pods
            if self.replicas.owner(other) == model and self._since.get(other.metadata.uid, float("inf")) <= settled
        ]
        return len(standing) >= enough


def _owned(pod: Pod) -> bool:
    return any(owner.kind == "ReplicaSet" for owner in pod.metadata.owner_references)
