"""The part of an install that lives in Kubernetes: nodes Ready, pod network, GPUs, models."""

from collections.abc import Collection
from dataclasses import replace

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import POD, Pod
from llmprov.inventory import Inventory
from llmprov.manifests.model import MODEL_LABEL, NAMESPACE
from llmprov.progress import Progress
from llmprov.results import EngineStart, Objects, Served
from llmprov.workflows import cluster as clusters
from llmprov.workflows import models
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
    done = Objects()
    with clusters.open_cluster(inventory) as api:
        with phases.timed("nodes ready"):
            clusters.wait_nodes(api, inventory, progress)
        if "gpu" in stages:
            # Kubelets take up to ten seconds to report them: the network comes up meanwhile.
            done = done.plus(clusters.mark_gpus(api, inventory))
        if "network" in stages:
            with phases.timed("network"):
                done = done.plus(clusters.apply_network(api, inventory, lock, progress))
        if "gpu" in stages:
            with phases.timed("gpu"):
                clusters.wait_gpus(api, inventory, progress)
        if "models" in stages:
            with phases.timed("wait for the push"):
                push.wait()
            with phases.timed("models"):
                done = _models(api, inventory, lock, progress, done)
    return done


def _models(api: Cluster, inventory: Inventory, lock: BundleLock, progress: Progress, done: Objects) -> Objects:
    before = _replicas(api)
    changes = models.deploy(api, inventory, lock, progress).changes
    ready = models.wait_ready(api, inventory, progress)
    starts = [
        EngineStart(replica.node, replica.pod, replica.engine_start_seconds)
        for model in ready
        for replica in model.replicas
        if replica.pod not in before
    ]
    served = tuple(Served(model.name, model.endpoint) for model in ready)
    return replace(done.plus(changes), models=served, starts=tuple(starts))


def _replicas(api: Cluster) -> frozenset[str]:
    """Return the names of the models' pods; a pod that a run finds there is not one that it started."""
    listed = api.list(POD, NAMESPACE, selector=MODEL_LABEL).items
    return frozenset(Pod.model_validate(item).metadata.name for item in listed)
