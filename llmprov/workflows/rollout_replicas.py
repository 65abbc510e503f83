"""Who says how many replicas a model has: its file, or the autoscaler. Neither takes the number from the other unasked.

Server-side apply removes a field that its only owner no longer names, and a Deployment without a number has one
replica. So before llmprov lets go of the number, a manager of its own holds it until the autoscaler sets it.
"""

from collections.abc import Sequence

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import DEPLOYMENT, Header, Kind
from llmprov.cluster.wait import Selection, watch_until
from llmprov.cluster.workloads import Deployment
from llmprov.errors import ClusterError
from llmprov.inventory.model_spec import ModelSpec, ReplicaRange
from llmprov.manifests.model import NAMESPACE
from llmprov.workflows.rollout import Revision, owns_replicas

SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler")
MANAGER = "llmprov-replicas"
_REMOVAL_SECONDS = 60.0


def without_autoscaler(models: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return the models with their least number of replicas as a fixed one: what a cluster without KEDA can do."""
    fixed = (ReplicaRange(min=model.replicas.min, max=model.replicas.min) for model in models)
    return tuple(model.model_copy(update={"replicas": r}) for model, r in zip(models, fixed, strict=True))


def before_apply(cluster: Cluster, item: Revision) -> None:
    """Make a Deployment ready for an application that names, or no longer names, its number of replicas."""
    if item.live is None:
        return
    name, bounds = item.spec.name, item.spec.replicas
    if item.spec.autoscaled:
        if owns_replicas(item.live):
            now = Deployment.model_validate(item.live).spec.replicas
            _hold(cluster, name, min(max(now, bounds.min), bounds.max))
    elif cluster.serves(SCALED_OBJECT) and cluster.get(SCALED_OBJECT, name, NAMESPACE) is not None:
        cluster.delete(SCALED_OBJECT, name, NAMESPACE)
        _wait_gone(cluster, name)
        _hold(cluster, name, bounds.min)


def after_apply(cluster: Cluster, item: Revision) -> None:
    """Start a new model with its least number of replicas; leave a fixed number to the application alone."""
    name, bounds = item.spec.name, item.spec.replicas
    if item.spec.autoscaled:
        if item.live is None and bounds.min > 1:
            _hold(cluster, name, bounds.min)
        return
    live = cluster.get(DEPLOYMENT, name, NAMESPACE)
    if live is not None and owns_replicas(live, MANAGER):
        cluster.apply(_deployment(name), manager=MANAGER)


def _hold(cluster: Cluster, name: str, replicas: int) -> None:
    cluster.apply(_deployment(name) | {"spec": {"replicas": replicas}}, force=True, manager=MANAGER)


def _deployment(name: str) -> dict[str, object]:
    kind = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind}
    return {**kind, "metadata": {"name": name, "namespace": NAMESPACE}}


def _wait_gone(cluster: Cluster, name: str) -> None:
    """Wait until the autoscaler of a deleted ScaledObject cannot set a number any more."""

    def decide(items: Sequence[Object]) -> bool | None:
        owners = [_target(item) for item in items]
        return None if name in owners else True

    if watch_until(cluster, Selection(AUTOSCALER, NAMESPACE), decide, seconds=_REMOVAL_SECONDS) is None:
        raise ClusterError(
            f"the autoscaler of {name} is still there {_REMOVAL_SECONDS:.0f} s after it was deleted",
            remedy="look at KEDA's operator: kubectl -n llmprov-autoscaling logs deployment/keda-operator",
        )


def _target(item: Object) -> str:
    name = Header.model_validate(item).metadata.labels.get("scaledobject.keda.sh/name", "")
    return name or Header.model_validate(item).metadata.name.removeprefix("keda-hpa-")
