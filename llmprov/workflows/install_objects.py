"""The part of an install that lives in Kubernetes: nodes Ready, pod network, GPUs, models."""

from collections.abc import Collection, Iterable, Iterator

from llmprov.bundle.lock import BundleLock
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.results import EngineStart, Objects, Served
from llmprov.workflows import cluster as clusters
from llmprov.workflows import models
from llmprov.workflows.models import ReadyModel
from llmprov.workflows.phases import Phases
from llmprov.workflows.push_beside import PushBeside


def apply_objects(
    inventory: Inventory,
    lock: BundleLock,
    *,
    stages: Collection[str],
    push: PushBeside,
    phases: Phases,
    progress: Progress,
) -> Objects:
    """Bring about the wanted ones of the stages that Python owns.

    Args:
        inventory: whose hosts have joined.
        lock: pins the images.
        stages: names of wanted stages; others are left out.
        push: of the models' images; waited for before a pod names them.
        phases: gets one phase a stage.
        progress: shows what is waited for.
    """
    changes = 0
    ready: tuple[ReadyModel, ...] = ()
    with clusters.open_cluster(inventory) as api:
        with phases.timed("nodes ready"):
            clusters.wait_nodes(api, inventory, progress)
        if "network" in stages:
            with phases.timed("network"):
                changes += clusters.apply_network(api, inventory, lock, progress)
        if "gpu" in stages:
            with phases.timed("gpu"):
                changes += clusters.apply_gpu(api, inventory, progress)
        if "models" in stages:
            with phases.timed("wait for the push"):
                push.wait()
            with phases.timed("models"):
                changes += models.deploy(api, inventory, lock, progress).changes
                ready = models.wait_ready(api, inventory, progress)
    return Objects(changes, tuple(Served(model.name, model.endpoint) for model in ready), tuple(_starts(ready)))


def _starts(ready: Iterable[ReadyModel]) -> Iterator[EngineStart]:
    for model in ready:
        for replica in model.replicas:
            yield EngineStart(replica.node, replica.pod, replica.engine_start_seconds)
