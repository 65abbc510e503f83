"""Pods that have to go: by the eviction API, which respects disruption budgets, or by force with a dead node."""

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import POD, Pod
from llmprov.cluster.problems import classify, parse_status

_BUDGET = "DisruptionBudget"


class Answer(StrEnum):
    """What the API made of an eviction."""

    TAKEN = "taken"
    GONE = "gone"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Eviction:
    """One attempt; `why` is the API's own sentence on what blocks it, and names the budget."""

    answer: Answer
    why: str = ""


def evict(cluster: Cluster, pod: Pod) -> Eviction:
    """Ask once for a pod to be evicted; it is told to stop, and may take its grace period for it.

    Raises:
        ClusterError: the API refuses for another reason than a budget.
    """
    meta = pod.metadata
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": meta.name, "namespace": meta.namespace},
        # Not another pod that has come under the same name.
        "deleteOptions": {"preconditions": {"uid": meta.uid}},
    }
    path = f"{_path(pod)}/eviction"
    with cluster.exchange("POST", path, body=body) as response:
        status, answer = response.status, response.read()
    if status < HTTPStatus.BAD_REQUEST:
        return Eviction(Answer.TAKEN)
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
        return Eviction(Answer.GONE)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        parsed = parse_status(answer)
        budgets = [cause.message for cause in parsed.details.causes if cause.reason == _BUDGET]
        return Eviction(Answer.BLOCKED, "; ".join(budgets) or parsed.message)
    raise classify(status, answer, f"evict {pod.label}")


def force_delete(cluster: Cluster, pod: Pod) -> None:
    """Delete a pod without waiting for its kubelet, which will never say that it has stopped.

    Raises:
        ClusterError: the API refuses it.
    """
    with cluster.exchange("DELETE", _path(pod), body={"gracePeriodSeconds": 0}) as response:
        status, answer = response.status, response.read()
    if status >= HTTPStatus.BAD_REQUEST and status != HTTPStatus.NOT_FOUND:
        raise classify(status, answer, f"delete {pod.label}")


def pods_on(cluster: Cluster, node: str) -> tuple[Pod, ...]:
    """Return the pods of a node, whatever they do."""
    found = map(Pod.model_validate, cluster.list(POD, fields=f"spec.nodeName={node}").items)
    return tuple(pod for pod in found if pod.spec.node_name == node)


def _path(pod: Pod) -> str:
    return f"/api/v1/namespaces/{pod.metadata.namespace}/pods/{pod.metadata.name}"
