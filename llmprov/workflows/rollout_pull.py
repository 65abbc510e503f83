"""Brings a new revision's images to the nodes that will run it, before any replica stops for it."""

from collections.abc import Sequence

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import EVENT, NODE, POD, Event, Node, Pod
from llmprov.cluster.pods import activity, failure, utc_now
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ModelError
from llmprov.manifests.model import NAMESPACE
from llmprov.manifests.prepull import LABEL, PrepullInputs, pod_name, prepull_pod
from llmprov.progress import Progress, Step
from llmprov.workflows.rollout import Revision
from llmprov.workflows.rollout_plan import Choice, Move

_SECONDS = 3600


def pull_ahead(cluster: Cluster, found: Sequence[Revision], choices: Sequence[Choice], progress: Progress) -> None:
    """Pull the images of models that are rolled out on the nodes where their new replicas may start.

    Raises:
        ModelError: an image cannot be pulled; no replica was touched.
    """
    moved = [
        (item, choice)
        for item, choice in zip(found, choices, strict=True)
        if choice.move in {Move.SURGE, Move.DRAIN_FIRST}
    ]
    if not moved:
        return
    there = _present(cluster)
    pulls = [
        PrepullInputs(
            name=item.inputs.name,
            node=node,
            engine_image=item.inputs.engine_image,
            weights_image=item.inputs.weights_image,
            seconds=_SECONDS,
        )
        for item, choice in moved
        for node in choice.nodes
        if not {item.inputs.engine_image, item.inputs.weights_image} <= there.get(node, frozenset())
    ]
    if pulls:
        _pull(cluster, pulls, progress)


def _present(cluster: Cluster) -> dict[str, frozenset[str]]:
    nodes = (Node.model_validate(item) for item in cluster.list(NODE).items)
    return {
        node.metadata.name: frozenset(name for image in node.status.images for name in image.names) for node in nodes
    }


def _pull(cluster: Cluster, pulls: Sequence[PrepullInputs], progress: Progress) -> None:
    names = {pod_name(pull) for pull in pulls}
    with progress.step("pull ahead", ", ".join(f"{pull.name} on {pull.node}" for pull in pulls)) as step:
        try:
            for pull in pulls:
                # One that an interrupted run left may have ended badly.
                cluster.delete(POD, pod_name(pull), NAMESPACE)
                _wait_gone(cluster, pod_name(pull))
                cluster.apply(prepull_pod(pull))
            _wait(cluster, names, step)
        finally:
            for name in names:
                cluster.delete(POD, name, NAMESPACE)


def _wait(cluster: Cluster, names: set[str], step: Step) -> None:
    def decide(items: Sequence[Object]) -> bool | None:
        pods = [pod for pod in map(Pod.model_validate, items) if pod.metadata.name in names]
        ended = [pod for pod in pods if pod.status.phase == "Succeeded"]
        events = [Event.model_validate(item) for item in cluster.list(EVENT, NAMESPACE).items]
        for pod in pods:
            _check(pod, [event for event in events if event.involved_object.uid == pod.metadata.uid])
        step.update(done=len(ended), total=len(names))
        return True if len(ended) == len(names) else None

    if watch_until(cluster, Selection(POD, NAMESPACE, LABEL), decide, seconds=_SECONDS) is None:
        raise _lost(f"images are not there after {_SECONDS} s", "look at the registry and the network: llmprov status")


def _check(pod: Pod, events: Sequence[Event]) -> None:
    if pod.status.phase == "Failed":
        doing = pod.status.message or activity(pod, events, utc_now())
        raise _lost(f"{pod.spec.node_name}: {doing}", "look at the node: journalctl -u kubelet -u containerd")
    if pod.status.phase != "Succeeded" and (lost := failure(pod, events, utc_now())) is not None:
        raise _lost(f"{pod.spec.node_name}: {lost.reason}", lost.remedy)


def _lost(reason: str, remedy: str) -> ModelError:
    return ModelError(
        f"the new revision's images cannot be brought ahead; nothing was changed: {reason}", remedy=remedy
    )


def _wait_gone(cluster: Cluster, name: str) -> None:
    def decide(items: Sequence[Object]) -> bool | None:
        return None if any(Pod.model_validate(item).metadata.name == name for item in items) else True

    watch_until(cluster, Selection(POD, NAMESPACE, LABEL), decide, seconds=30)
