"""`llmprov model list` and `show`: models as the inventory declares them and as the cluster has them."""

from collections.abc import Sequence

from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import DEPLOYMENT, EVENT, Event, Pod
from llmprov.cluster.pods import activity, failure, utc_now
from llmprov.cluster.prometheus import instant
from llmprov.cluster.workloads import REVISION, Deployment
from llmprov.errors import ClusterError, ModelError
from llmprov.inventory import Inventory, ModelSpec
from llmprov.inventory.suggest import remedy_for
from llmprov.manifests.autoscaling import kv_cache_query, requests_query
from llmprov.manifests.model import MODEL_LABEL, NAMESPACE, grace_seconds
from llmprov.model_states import Autoscaling, ModelDetail, ServedModel
from llmprov.progress import Progress
from llmprov.workflows.autoscaling import conditions
from llmprov.workflows.chat import SERVED_NAME
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.models import endpoint
from llmprov.workflows.status import replica_pods


def served_models(inventory: Inventory, progress: Progress) -> tuple[ServedModel, ...]:
    """List the models of the inventory and of the cluster, by name."""
    with progress.step("models", inventory.settings.name), open_cluster(inventory) as cluster:
        return _served(cluster, inventory)


def show(inventory: Inventory, name: str, progress: Progress) -> ModelDetail:
    """Return everything about one model.

    Raises:
        ModelError: neither the inventory nor the cluster has it.
    """
    with progress.step("model", name), open_cluster(inventory) as cluster:
        found = {model.name: model for model in _served(cluster, inventory)}
        if name not in found:
            known = f"there are: {', '.join(found) or 'none'}"
            raise ModelError(f"there is no model {name!r}", remedy=remedy_for(name, found, known))
        return _detail(cluster, inventory, found[name])


def _served(cluster: Cluster, inventory: Inventory) -> tuple[ServedModel, ...]:
    listed = cluster.list(DEPLOYMENT, NAMESPACE, selector=MODEL_LABEL).items
    deployed = {item.metadata.name: item for item in map(Deployment.model_validate, listed)}
    specs = {model.name: model for model in inventory.models}
    return tuple(_model(name, specs.get(name), deployed.get(name)) for name in sorted({*specs, *deployed}))


def _model(name: str, spec: ModelSpec | None, live: Deployment | None) -> ServedModel:
    annotations = live.metadata.annotations if live else {}
    return ServedModel(
        name=name,
        served_name=annotations.get(SERVED_NAME) or (spec.public_name if spec else name),
        replicas=str(spec.replicas) if spec else "",
        ready=live.status.ready_replicas if live else 0,
        wanted=live.wanted if live else 0,
        gpus=spec.resources.gpus if spec else None,
        revision=annotations.get(REVISION, ""),
        created=live.metadata.creation_timestamp if live else None,
        state=_state(spec, live),
    )


def _state(spec: ModelSpec | None, live: Deployment | None) -> str:
    if live is None:
        return "not deployed"
    if spec is None:
        return "not in the inventory"
    if live.rolled_out:
        return "ready"
    updated = live.status.updated_replicas
    return "rolling out" if updated < live.wanted else f"{live.status.ready_replicas} of {live.wanted} ready"


def _detail(cluster: Cluster, inventory: Inventory, model: ServedModel) -> ModelDetail:
    pods = replica_pods(cluster, f"{MODEL_LABEL}={model.name}")
    spec = next((item for item in inventory.models if item.name == model.name), None)
    first = pods[0].spec if pods else None
    return ModelDetail(
        model=model,
        endpoint=endpoint(model.name, inventory),
        engine=first.containers[0].image if first and first.containers else "",
        weights=_weights(spec),
        arguments=spec.engine.args if spec else (),
        replicas=_activities(cluster, pods),
        autoscaling=_autoscaling(cluster, spec, model) if spec and spec.autoscaled else None,
        stop_seconds=grace_seconds(spec.timeouts.drain_seconds) if spec else 0,
    )


def _weights(spec: ModelSpec | None) -> str:
    return (spec.source.image or spec.source.artifact or "") if spec else ""


def _activities(cluster: Cluster, pods: Sequence[Pod]) -> tuple[str, ...]:
    now = utc_now()
    events = [Event.model_validate(item) for item in cluster.list(EVENT, NAMESPACE).items]
    lines = []
    for pod in pods:
        mine = [event for event in events if event.involved_object.uid == pod.metadata.uid]
        lost = failure(pod, mine, now)
        doing = lost.reason if lost else activity(pod, mine, now)
        lines.append(f"{pod.metadata.name} on {pod.spec.node_name or 'no node yet'}: {doing}")
    return tuple(lines)


def _autoscaling(cluster: Cluster, spec: ModelSpec, model: ServedModel) -> Autoscaling:
    requests, cache = _now(cluster, requests_query(spec.name)), _now(cluster, kv_cache_query(spec.name))
    return Autoscaling(
        min=spec.replicas.min,
        max=spec.replicas.max,
        target_requests=spec.autoscaling.target_requests,
        kv_cache_percent=spec.autoscaling.kv_cache_percent,
        cooldown_seconds=spec.cooldown_seconds,
        requests=requests,
        kv_cache=None if cache is None else cache / max(model.ready, 1),
        state=_scaler_state(cluster, spec.name),
    )


def _now(cluster: Cluster, query: str) -> float | None:
    try:
        values = instant(cluster, query)
    except ClusterError:
        return None  # shown as missing: the model serves without Prometheus too
    return values[0] if values else None


def _scaler_state(cluster: Cluster, name: str) -> str:
    found = conditions(cluster, name)
    if found is None:
        return "there is none in the cluster: llmprov install"
    if found.fallback:
        return "blind: it keeps the replicas there are, until Prometheus has data again"
    return "working" if found.ready else found.message
