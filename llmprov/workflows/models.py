"""From models in the inventory to replicas that answer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import Applied, apply_set
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import DEPLOYMENT
from llmprov.cluster.pods import ReplicaTiming
from llmprov.cluster.rollout import Outcome, Workload, outcomes_of, workloads_failed
from llmprov.errors import ClusterError, ModelError, ShortOfNodesError, joined
from llmprov.inventory import Inventory, ModelSpec
from llmprov.manifests.model import MODEL_LABEL, NAMESPACE, PORT, ModelInputs, Strategy
from llmprov.progress import Progress
from llmprov.states import ReadyModel as ReadyModel  # noqa: PLC0414 - part of this module's interface
from llmprov.workflows import autoscaling, rollout, rollout_replicas
from llmprov.workflows.model_objects import Surroundings, model_inputs, objects_of, shared_objects, surroundings
from llmprov.workflows.object_sets import ObjectSet
from llmprov.workflows.references import ModelImages, model_images
from llmprov.workflows.rollout_plan import Choice
from llmprov.workflows.rollout_pull import pull_ahead

MODELS_SET = "models"
# A pod that is told to start now may first have to wait for its images.
_PULL_SECONDS = 1800


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment did.

    Attributes:
        applied: what became of the objects.
        choices: how each model's replicas are replaced.
        before: the Deployments whose replicas are being replaced, as they were while they served.
    """

    applied: Applied
    choices: tuple[Choice, ...] = ()
    before: Mapping[str, Object] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        """How many objects differ from before."""
        return self.applied.changes


def images(inventory: Inventory, lock: BundleLock) -> tuple[ModelImages, ...]:
    """Return the exact references that the models' pods will name."""
    return model_images(inventory, lock)


def choices(
    cluster: Cluster, inventory: Inventory, lock: BundleLock, *, names: Sequence[str] = (), restart: bool = False
) -> tuple[Choice, ...]:
    """Say how a deployment would replace the models' replicas; nothing is changed.

    Raises:
        ModelError: a new replica cannot start anywhere, or an image is nowhere.
    """
    found = rollout.revisions(cluster, _wanted(inventory, lock, names), take_over=True)
    return rollout.plan(cluster, found, restart=restart)


def sets(
    cluster: Cluster, inventory: Inventory, lock: BundleLock, stages: Collection[str] = ()
) -> tuple[ObjectSet, ...]:
    """Return what a deployment of every model would apply; GPUs are not looked at, and nothing is changed.

    Replicas are taken to be replaced the way that each Deployment says now: how else depends on the GPUs that are free
    when they are.

    Args:
        cluster: where they are deployed, or will be.
        inventory: holds the models.
        lock: the bundle, which pins the images.
        stages: that are brought about before: the models get objects for what these bring.

    Raises:
        ModelError: an image is nowhere.
    """
    around = surroundings(cluster, stages)
    inventory = _without_autoscaler(inventory, around)
    wanted = [(spec, inputs, _live(cluster, spec.name)) for spec, inputs in _wanted(inventory, lock, ())]
    parts = [(spec, inputs, rollout.present_strategy(live)) for spec, inputs, live in wanted]
    return (
        ObjectSet(MODELS_SET, _objects(shared_objects(cluster, inventory.models, around, alone=True), parts, around)),
    )


def deploy(
    cluster: Cluster,
    inventory: Inventory,
    lock: BundleLock,
    progress: Progress,
    *,
    live: LiveObjects | None = None,
    take_over: bool = False,
    names: Sequence[str] = (),
    restart: bool = False,
) -> Deployed:
    """Apply every model of the inventory, and remove those that are not in it any more.

    Everything that can be known beforehand is checked first: images, what the API says of each object, GPUs.

    Args:
        cluster: where to.
        inventory: holds the models.
        lock: the bundle, which pins the images.
        progress: told which object is being applied.
        live: what was there a moment ago; None to look now.
        take_over: take fields over that somebody else has set.
        names: only these models; the others stay as they are. Empty: all.
        restart: replace their replicas although nothing about them changes.

    Raises:
        ModelError: an image is nowhere, or no node has room for a new replica; nothing was changed.
    """
    around = surroundings(cluster)
    if not around.autoscaling and any(model.autoscaled for model in inventory.models):
        progress.note("the cluster has no autoscaler: models stay at their least number of replicas (llmprov install)")
    inventory = _without_autoscaler(inventory, around)
    with progress.step("plan models") as step:
        found = rollout.revisions(cluster, _wanted(inventory, lock, names), take_over=take_over)
        chosen = rollout.plan(cluster, found, restart=restart)
        step.update(", ".join(f"{choice.model}: {choice.move}" for choice in chosen))
    for choice in chosen:
        if choice.warning:
            progress.note(choice.warning)
    pull_ahead(cluster, found, chosen, progress)
    parts = [
        (item.spec, item.inputs, rollout.strategy_of(choice, item.live))
        for item, choice in zip(found, chosen, strict=True)
    ]
    objects = _objects(shared_objects(cluster, inventory.models, around, alone=not names), parts, around)
    for item in found:
        rollout_replicas.before_apply(cluster, item)
    within = f"{MODEL_LABEL} in ({','.join(names)})" if names else ""
    applied = apply_set(cluster, MODELS_SET, objects, progress, live=live, take_over=take_over, within=within)
    for item in found:
        rollout_replicas.after_apply(cluster, item)
        if restart and not item.changed:
            rollout.restart(cluster, item.spec.name)
    before = {
        item.spec.name: item.live
        for item in found
        if item.live is not None and item.changed and item.spec.rollout.undo and rollout.serves(item.live)
    }
    return Deployed(applied, chosen, before)


def wait_ready(
    cluster: Cluster,
    inventory: Inventory,
    progress: Progress,
    deployed: Deployed | None = None,
    *,
    names: Sequence[str] = (),
    short_of_nodes: bool = False,
) -> tuple[ReadyModel, ...]:
    """Wait until every replica of every model answers; they start beside each other.

    A model whose new revision does not become ready goes back to the one that served before.

    Args:
        cluster: where they were deployed.
        inventory: holds the models.
        progress: shows what each replica does.
        deployed: what the deployment did; without it nothing is taken back.
        names: only these models. Empty: all.
        short_of_nodes: whether hosts are missing: a model that answers may then have fewer replicas than it should.

    Raises:
        ClusterError: a replica cannot start (with its last log lines), or the model's startup time is over.
        ModelError: the same of a new revision, which was taken back.
    """
    workloads = [workload(model) for model in _chosen(inventory, names)]
    outcomes = outcomes_of(cluster, NAMESPACE, workloads, progress)
    if short_of_nodes:
        outcomes = {name: _settled_for(outcome, progress) for name, outcome in outcomes.items()}
    errors = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, ClusterError)}
    before = deployed.before if deployed else {}
    undone = [_undo(cluster, before[name], error, progress) for name, error in errors.items() if name in before]
    others = [error for name, error in errors.items() if name not in before]
    if undone:
        failed = [*undone, *others]
        raise joined(ModelError, f"{len(failed)} models did not become ready", failed)
    if others:
        raise workloads_failed(others)
    return tuple(ReadyModel(name, endpoint(name, inventory), _replicas(outcome)) for name, outcome in outcomes.items())


def wait_scaled(cluster: Cluster, inventory: Inventory, ready: Sequence[ReadyModel], progress: Progress) -> None:
    """Wait until the autoscalers of models that answer work on data; Prometheus gets these only after a scrape.

    Raises:
        ClusterError: Prometheus has no data for a model, or KEDA cannot use them.
        ModelError: a model's cool-down is shorter than its replicas took to load.
    """
    loads = {model.name: model.replicas for model in ready}
    if loads and cluster.serves(rollout_replicas.SCALED_OBJECT):
        autoscaling.wait_models(cluster, _chosen(inventory, tuple(loads)), loads, progress)


def workload(model: ModelSpec) -> Workload:
    """Return what is waited for, and for how long."""
    return Workload(
        DEPLOYMENT,
        NAMESPACE,
        model.name,
        {MODEL_LABEL: model.name},
        seconds=float(model.timeouts.startup_seconds + _PULL_SECONDS),
        title=f"model {model.name}",
    )


def endpoint(name: str, inventory: Inventory) -> str:
    """Return a model's base URL as clients inside the cluster use it."""
    return f"http://{name}.{NAMESPACE}.svc.{inventory.settings.dns_domain}:{PORT}/v1"


type _Part = tuple[ModelSpec, ModelInputs, Strategy]


def _objects(shared: Sequence[Object], parts: Sequence[_Part], around: Surroundings) -> list[Object]:
    """Return all objects of these models, after what all share."""
    objects = [*shared]
    for spec, inputs, strategy in parts:
        objects += objects_of(spec, inputs.model_copy(update={"strategy": strategy}), around)
    return objects


def _without_autoscaler(inventory: Inventory, around: Surroundings) -> Inventory:
    if around.autoscaling or not any(model.autoscaled for model in inventory.models):
        return inventory
    return inventory.model_copy(update={"models": rollout_replicas.without_autoscaler(inventory.models)})


def _live(cluster: Cluster, name: str) -> Object | None:
    return cluster.get(DEPLOYMENT, name, NAMESPACE)


def _wanted(inventory: Inventory, lock: BundleLock, names: Sequence[str]) -> list[tuple[ModelSpec, ModelInputs]]:
    chosen = _chosen(inventory, names)
    pinned = {found.model: found for found in images(inventory.model_copy(update={"models": chosen}), lock)}
    return [(model, model_inputs(model, pinned[model.name])) for model in chosen]


def _chosen(inventory: Inventory, names: Sequence[str]) -> tuple[ModelSpec, ...]:
    return tuple(model for model in inventory.models if not names or model.name in names)


def _undo(cluster: Cluster, before: Object, cause: ClusterError, progress: Progress) -> ModelError:
    name = rollout.name_of(before)
    return rollout.undone(name, cause, rollout.undo(cluster, before, progress, seconds=_PULL_SECONDS))


def _settled_for(outcome: Outcome, progress: Progress) -> Outcome:
    """Turn the lack of a node for further replicas into a note."""
    if not isinstance(outcome, ShortOfNodesError):
        return outcome
    progress.note(f"{outcome.message}; it answers with the replicas that there are")
    return ()


def _replicas(outcome: Outcome) -> tuple[ReplicaTiming, ...]:
    return () if isinstance(outcome, ClusterError) else outcome
