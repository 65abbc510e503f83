"""From models in the inventory to replicas that answer."""

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import Applied, apply_set
from llmprov.cluster.client import Cluster
from llmprov.cluster.nodes import node_states
from llmprov.cluster.objects import DEPLOYMENT
from llmprov.cluster.rollout import Workload, wait_rolled_out
from llmprov.inventory import Inventory, ModelSpec
from llmprov.manifests.model import (
    MODEL_LABEL,
    NAMESPACE,
    PORT,
    ModelInputs,
    model_objects,
    namespace_objects,
    strategy,
)
from llmprov.progress import Progress
from llmprov.states import ReadyModel as ReadyModel  # noqa: PLC0414 - part of this module's interface
from llmprov.workflows.references import ModelImages, model_images

MODELS_SET = "models"
# A pod that is told to start now may first have to wait for its images.
_PULL_SECONDS = 1800


def images(inventory: Inventory, lock: BundleLock) -> tuple[ModelImages, ...]:
    """Return the exact references that the models' pods will name."""
    return model_images(inventory, lock)


def deploy(
    cluster: Cluster, inventory: Inventory, lock: BundleLock, progress: Progress, *, take_over: bool = False
) -> Applied:
    """Apply every model of the inventory, and remove those that are not in it any more.

    Args:
        cluster: where to.
        inventory: holds the models.
        lock: the bundle, which pins the images.
        progress: told which object is being applied.
        take_over: take fields over that somebody else has set.
    """
    pinned = {found.model: found for found in images(inventory, lock)}
    spare = spare_gpus(cluster, inventory)
    objects = [*namespace_objects()]
    for model in inventory.models:
        objects += model_objects(model_inputs(model, pinned[model.name], spare))
    return apply_set(cluster, MODELS_SET, objects, progress, take_over=take_over)


def wait_ready(cluster: Cluster, inventory: Inventory, progress: Progress) -> tuple[ReadyModel, ...]:
    """Wait until every replica of every model answers; they start beside each other.

    Raises:
        ClusterError: a replica cannot start (with its last log lines), or the model's startup time is over.
    """
    workloads = [
        Workload(
            DEPLOYMENT,
            NAMESPACE,
            model.name,
            {MODEL_LABEL: model.name},
            seconds=float(model.timeouts.startup_seconds + _PULL_SECONDS),
            title=f"model {model.name}",
        )
        for model in inventory.models
    ]
    timings = wait_rolled_out(cluster, NAMESPACE, workloads, progress)
    return tuple(ReadyModel(name, endpoint(name, inventory), replicas) for name, replicas in timings.items())


def model_inputs(model: ModelSpec, pinned: ModelImages, spare: int) -> ModelInputs:
    """Turn a model of the inventory into the inputs of its objects."""
    return ModelInputs(
        name=model.name,
        served_name=model.public_name,
        engine_image=pinned.engine,
        weights_image=pinned.weights,
        args=model.engine.args,
        env=model.engine.env,
        gpus=model.resources.gpus,
        replicas=model.replicas.min,
        memory=model.resources.memory,
        shared_memory=model.resources.shared_memory,
        max_model_len=model.max_model_len,
        startup_seconds=model.timeouts.startup_seconds,
        drain_seconds=model.timeouts.drain_seconds,
        strategy=strategy(gpus=model.resources.gpus, replicas=model.replicas.min, spare_gpus=spare),
    )


def endpoint(name: str, inventory: Inventory) -> str:
    """Return a model's base URL as clients inside the cluster use it."""
    return f"http://{name}.{NAMESPACE}.svc.{inventory.settings.dns_domain}:{PORT}/v1"


def spare_gpus(cluster: Cluster, inventory: Inventory) -> int:
    """Return how many GPUs of the cluster no model of the inventory asks for."""
    asked = sum(model.resources.gpus * model.replicas.min for model in inventory.models)
    return sum(state.gpus for state in node_states(cluster) if state.schedulable) - asked
