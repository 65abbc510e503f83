"""From a model's file to the objects that serve it: pure, so that what will be applied can be compared and tested."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import DEPLOYMENT, Kind
from llmprov.cluster.room import quantity
from llmprov.cluster.workloads import Deployment
from llmprov.inventory import ModelSpec
from llmprov.manifests.autoscaling import AutoscalerInputs, autoscaler_objects
from llmprov.manifests.gateway import RouteInputs, model_route, models_list
from llmprov.manifests.model import (
    MODEL_LABEL,
    NAMESPACE,
    PORT,
    ModelInputs,
    QuotaInputs,
    model_objects,
    namespace_objects,
)
from llmprov.manifests.render import Manifest
from llmprov.workflows.references import ModelImages
from llmprov.workflows.rollout_replicas import SCALED_OBJECT

SERVED_NAME = "llmprov.io/served-name"
_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute")
MODEL_KINDS = frozenset(
    (
        _ROUTE,
        Kind("gateway.envoyproxy.io/v1alpha1", "HTTPRouteFilter"),
        Kind("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"),
        SCALED_OBJECT,
    )
)
"""Kinds of models' objects that Kubernetes does not have by itself."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a cluster has besides Kubernetes: objects for what is not there cannot be applied."""

    autoscaling: bool
    gateway: bool


def surroundings(cluster: Cluster, stages: Collection[str] = ()) -> Surroundings:
    """Ask a cluster what it has; `stages` are brought about before the models, and what they bring counts, too."""
    served = cluster.groups()
    return Surroundings(
        autoscaling="autoscaling" in stages or SCALED_OBJECT.api_version in served,
        gateway="gateway" in stages or _ROUTE.api_version in served,
    )


def shared_objects(
    cluster: Cluster, declared: Sequence[ModelSpec], around: Surroundings, *, without: str = "", alone: bool = False
) -> tuple[Manifest, ...]:
    """Return what all models share: their namespace, what they may have, and the list of them that clients get.

    Args:
        cluster: whose deployed models are listed, too.
        declared: models of the inventory.
        around: what the cluster has.
        without: a model that is being removed.
        alone: whether these are all: what else is deployed is about to go.
    """
    base = namespace_objects(quota_inputs(declared))
    if not around.gateway:
        return base
    listed = () if alone else cluster.list(DEPLOYMENT, NAMESPACE, selector=MODEL_LABEL).items
    names = {item.metadata.name: _served_name(item) for item in map(Deployment.model_validate, listed)}
    names |= {model.name: model.public_name for model in declared}
    names.pop(without, None)
    return (*base, *models_list(sorted(names.values()), NAMESPACE))


def objects_of(model: ModelSpec, inputs: ModelInputs, around: Surroundings) -> tuple[Manifest, ...]:
    """Return the objects of one model, each with the label of its name."""
    objects = [*model_objects(inputs)]
    if around.gateway:
        route = RouteInputs(name=model.name, served_name=model.public_name, namespace=NAMESPACE, port=PORT)
        objects += model_route(route)
    if around.autoscaling and model.autoscaled:
        objects += autoscaler_objects(autoscaler_inputs(model), NAMESPACE)
    return tuple(_labelled(item, model.name) for item in objects)


def model_inputs(model: ModelSpec, pinned: ModelImages) -> ModelInputs:
    """Turn a model of the inventory into the inputs of its objects."""
    return ModelInputs(
        name=model.name,
        served_name=model.public_name,
        engine_image=pinned.engine,
        weights_image=pinned.weights,
        args=model.engine.args,
        env=model.engine.env,
        gpus=model.resources.gpus,
        replicas=None if model.autoscaled else model.replicas.min,
        max_replicas=model.replicas.max if model.autoscaled else None,
        memory=model.resources.memory,
        shared_memory=model.resources.shared_memory,
        max_model_len=model.max_model_len,
        startup_seconds=model.timeouts.startup_seconds,
        drain_seconds=model.timeouts.drain_seconds,
    )


def autoscaler_inputs(model: ModelSpec) -> AutoscalerInputs:
    """Turn a model of the inventory into the inputs of its autoscaler."""
    return AutoscalerInputs(
        name=model.name,
        min_replicas=model.replicas.min,
        max_replicas=model.replicas.max,
        target_requests=model.autoscaling.target_requests,
        kv_cache_percent=model.autoscaling.kv_cache_percent,
        cooldown_seconds=model.cooldown_seconds,
    )


def quota_inputs(models: Sequence[ModelSpec]) -> QuotaInputs:
    """Add up what models may have at most, each with one replica more for its rollouts."""
    memories = [model.resources.memory for model in models]
    asked = sum(quantity(model.resources.memory or "0") * (model.replicas.max + 1) for model in models)
    return QuotaInputs(
        replicas=sum(model.replicas.max + 1 for model in models),
        gpus=sum(model.resources.gpus * (model.replicas.max + 1) for model in models),
        memory=asked if all(memories) else None,
    )


def _labelled(item: Manifest, name: str) -> Manifest:
    metadata = item["metadata"]
    if not isinstance(metadata, Mapping):
        raise TypeError(f"object without metadata: {item}")
    labels = {**metadata.get("labels", {}), MODEL_LABEL: name}
    return {**item, "metadata": {**metadata, "labels": labels}}


def _served_name(deployment: Deployment) -> str:
    return deployment.metadata.annotations.get(SERVED_NAME, deployment.metadata.name)
