"""The part of an install that lives in Kubernetes: nodes Ready, the stations, the models."""

from collections.abc import Collection
from dataclasses import replace

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import POD, Header
from llmprov.inventory import Inventory
from llmprov.manifests.model import MODEL_LABEL, NAMESPACE
from llmprov.progress import Progress
from llmprov.results import EngineStart, Objects, Served
from llmprov.workflows import cluster as clusters
from llmprov.workflows import gateway, models
from llmprov.workflows.phases import Phases
from llmprov.workflows.push_beside import PushBeside
from llmprov.workflows.stations import stations_of


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
        push: of the images; waited for before a pod names them.
        phases: gets the parts' times.
        progress: shows what is waited for.
    """
    done = Objects()
    stations = stations_of(stages)
    with clusters.open_cluster(inventory) as api:
        with phases.timed("nodes ready"):
            clusters.wait_nodes(api, inventory, progress)
        with phases.timed("wait for the push"):
            push.wait()
        for station in stations:
            with phases.timed(f"apply {station.stage}"):
                done = done.plus(station.changes(api, inventory, lock, progress))
        for station in stations:
            if station.first:
                with phases.timed(station.stage):
                    station.wait(api, inventory, progress)
        before = _replicas(api)
        if "models" in stages:
            with phases.timed("apply models"):
                deployed = models.deploy(api, inventory, lock, progress)
            done = done.plus(deployed.changes)
        for station in stations:
            if not station.first:
                with phases.timed(station.stage):
                    station.wait(api, inventory, progress)
        if "models" in stages:
            with phases.timed("models"):
                ready = models.wait_ready(api, inventory, progress, deployed)
                done = replace(done, models=_served(ready), starts=_starts(ready, before))
            if "gateway" in stages:
                with phases.timed("models behind the gateway"):
                    gateway.wait_models(api, inventory, progress)
    return done


def _served(ready: Collection[models.ReadyModel]) -> tuple[Served, ...]:
    return tuple(Served(model.name, model.endpoint) for model in ready)


def _starts(ready: Collection[models.ReadyModel], before: Collection[str]) -> tuple[EngineStart, ...]:
    """Return the engine starts of this run."""
    return tuple(
        EngineStart(replica.node, replica.pod, replica.engine_start_seconds)
        for model in ready
        for replica in model.replicas
        if replica.pod not in before
    )


def _replicas(api: Cluster) -> frozenset[str]:
    """Return the names of the models' pods; a pod that a run finds there is not one that it started."""
    listed = api.list(POD, NAMESPACE, selector=MODEL_LABEL).items
    return frozenset(Header.model_validate(item).metadata.name for item in listed)
