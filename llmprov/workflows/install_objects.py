"""The part of an install that lives in Kubernetes: nodes Ready, the stations, the models."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import POD, Header
from llmprov.inventory import Inventory
from llmprov.manifests.model import MODEL_LABEL, NAMESPACE
from llmprov.progress import Progress
from llmprov.results import EngineStart, Objects, Served
from llmprov.workflows import cluster as clusters
from llmprov.workflows import gateway, models
from llmprov.workflows.lock import Operator
from llmprov.workflows.objects_beside import ObjectsBeside
from llmprov.workflows.phases import Phases
from llmprov.workflows.plan_objects import MODELS
from llmprov.workflows.push_beside import PushBeside
from llmprov.workflows.stations import Station, stations_of


def apply_objects(
    inventory: Inventory,
    lock: BundleLock,
    *,
    stages: Collection[str],
    unfinished: Collection[str],
    push: PushBeside,
    beside: ObjectsBeside,
    phases: Phases,
    progress: Progress,
    operator: Operator | None = None,
    short_of_nodes: bool = False,
) -> Objects:
    """Bring about the wanted ones of the stages that Python owns; what is as it should be is only looked at.

    Args:
        inventory: whose hosts have joined.
        lock: pins the images.
        stages: names of wanted stages; others are left out.
        unfinished: those of the stages of which an object is to be changed, or something does not work.
        push: of the images; waited for before a pod names them.
        beside: what may have been applied while workers joined.
        phases: gets the parts' times.
        progress: shows what is waited for.
        operator: learns that there is a cluster now.
        short_of_nodes: whether hosts were set aside: models may have fewer replicas than they should.
    """
    with clusters.open_cluster(inventory) as api:
        if operator is not None:
            operator.cluster_is_up(api)
        with phases.timed("nodes ready"):
            clusters.wait_nodes(api, inventory, progress)
        with phases.timed("wait for the push"):
            push.wait()
        with phases.timed("wait for objects beside"):
            found = beside.wait()
        run = _Run(
            api=api,
            inventory=inventory,
            lock=lock,
            live=found.live or LiveObjects.read(api),
            phases=phases,
            progress=progress,
            operator=operator,
            before=_replicas(api),
            done=Objects().plus(found.changes),
        )
        stations = stations_of(unfinished)
        # Engines take long to start: what models name nothing of, or only kinds that are there, comes after them.
        later = [station for station in stations if station.last or (found.live and not station.on_every_node)]
        run.apply([station for station in stations if station not in later])
        if MODELS in unfinished:
            run.deploy(stations_of(stages))
        run.apply(later)
        run.wait(stations)
        if MODELS in unfinished:
            run.wait_models(behind_gateway="gateway" in stages, short_of_nodes=short_of_nodes)
    return replace(run.done, models=nothing_to_apply(inventory, stages).models)


def nothing_to_apply(inventory: Inventory, stages: Collection[str]) -> Objects:
    """Return what `apply_objects` does where a comparison found that everything is as it should be."""
    return Objects(models=_served(inventory) if MODELS in stages else ())


@dataclass(kw_only=True)
class _Run:
    """What the parts of one run share, and what it has done so far."""

    api: Cluster
    inventory: Inventory
    lock: BundleLock
    live: LiveObjects
    phases: Phases
    progress: Progress
    operator: Operator | None
    done: Objects = field(default_factory=Objects)
    deployed: models.Deployed | None = None
    before: frozenset[str] = frozenset()
    """Names of the models' pods that were there already."""

    def apply(self, stations: Sequence[Station]) -> None:
        """Apply the stations' objects, all before any is waited for: their images are pulled beside each other."""
        for station in stations:
            self._check()
            with self.phases.timed(f"apply {station.stage}"):
                changes = station.changes(self.api, self.inventory, self.lock, self.progress, live=self.live)
            self.done = self.done.plus(changes)

    def deploy(self, stations: Sequence[Station]) -> None:
        """Apply the models; those of the stations that their pods need must work before."""
        for station in stations:
            if station.first:
                with self.phases.timed(station.stage):
                    station.wait(self.api, self.inventory, self.progress)
        self._check()
        with self.phases.timed("apply models"):
            self.deployed = models.deploy(self.api, self.inventory, self.lock, self.progress, live=self.live)
        self.done = self.done.plus(self.deployed.changes)

    def wait(self, stations: Sequence[Station]) -> None:
        """Wait until the stations work."""
        for station in stations:
            if not station.first or self.deployed is None:
                with self.phases.timed(station.stage):
                    station.wait(self.api, self.inventory, self.progress)

    def wait_models(self, *, behind_gateway: bool, short_of_nodes: bool) -> None:
        """Wait until the models answer, and then until their autoscalers have seen what they do."""
        with self.phases.timed(MODELS):
            ready = models.wait_ready(
                self.api, self.inventory, self.progress, self.deployed, short_of_nodes=short_of_nodes
            )
        if behind_gateway:
            with self.phases.timed("models behind the gateway"):
                gateway.wait_models(self.api, self.inventory, self.progress)
        self.phases.answered()
        if any(model.autoscaled for model in self.inventory.models):
            with self.phases.timed("models' autoscalers"):
                models.wait_scaled(self.api, self.inventory, ready, self.progress)
        self.done = replace(self.done, starts=_starts(ready, self.before))

    def _check(self) -> None:
        if self.operator is not None:
            self.operator.check()


def _served(inventory: Inventory) -> tuple[Served, ...]:
    return tuple(Served(model.name, models.endpoint(model.name, inventory)) for model in inventory.models)


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
