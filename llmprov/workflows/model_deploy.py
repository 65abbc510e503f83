"""`llmprov model deploy`, `scale`, `rollout` and `remove`: the models of a cluster that is there.

Others are kept away while objects are changed, not while engines start: that takes minutes, and is no change.
"""

import re
from collections.abc import Sequence

from pydantic import ValidationError

from llmprov.bundle.lock import BundleLock
from llmprov.bundle.registry_ref import ImageRef
from llmprov.cluster.apply import apply_set
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import DEPLOYMENT, POD, Header
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError, ModelError
from llmprov.inventory import Inventory
from llmprov.inventory.model_files import model_files, read_models
from llmprov.inventory.model_spec import ReplicaRange
from llmprov.inventory.suggest import remedy_for
from llmprov.manifests.model import MODEL_LABEL, NAMESPACE
from llmprov.model_states import PlannedRollout, RemovedModel
from llmprov.progress import Progress
from llmprov.states import ReadyModel
from llmprov.workflows import models
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.model_objects import shared_objects, surroundings
from llmprov.workflows.operating import journaled
from llmprov.workflows.references import open_registry
from llmprov.workflows.rollout_plan import Choice

_RANGE = re.compile(r"(?P<min>[0-9]+)(?:-(?P<max>[0-9]+))?")
_STOP_SECONDS = 900.0


def deploy(
    inventory: Inventory, progress: Progress, *, take_over: bool = False, names: Sequence[str] = ()
) -> tuple[ReadyModel, ...]:
    """Deploy models of the inventory and wait until each answers.

    Args:
        inventory: holds the models and names the cluster.
        progress: shows objects and replicas.
        take_over: take fields over that somebody else has set.
        names: only these. Empty: all, and models that left the inventory are removed.
    """
    for name in names:
        known(inventory, name)
    lock = BundleLock.load(inventory.settings.bundle_dir)
    check_images(inventory, lock, names)
    with journaled(inventory, "model deploy", progress) as alone, open_cluster(inventory) as cluster:
        with alone():
            deployed = models.deploy(cluster, inventory, lock, progress, take_over=take_over, names=names)
        return _wait(cluster, inventory, deployed, progress, names)


def scale(inventory: Inventory, name: str, replicas: str, progress: Progress) -> tuple[ReadyModel, ...]:
    """Give a model another number of replicas than its file says, until it is deployed the next time.

    Args:
        inventory: holds the model and names the cluster.
        name: of the model.
        replicas: `2`, or `1-4` to follow the load.
        progress: shows objects and replicas.

    Raises:
        ModelError: that is no number of replicas, or no node has room for all of them; nothing was changed.
    """
    known(inventory, name)
    bounds = parse_replicas(replicas)
    changed = tuple(
        model.model_copy(update={"replicas": bounds}) if model.name == name else model for model in inventory.models
    )
    lock = BundleLock.load(inventory.settings.bundle_dir)
    scaled = inventory.model_copy(update={"models": changed})
    with journaled(inventory, "model scale", progress) as alone, open_cluster(inventory) as cluster:
        with alone():
            _check_room(models.choices(cluster, scaled, lock, names=(name,)))
            deployed = models.deploy(cluster, scaled, lock, progress, names=(name,))
        return _wait(cluster, scaled, deployed, progress, (name,))


def plan_rollout(inventory: Inventory, name: str, progress: Progress, *, restart: bool) -> PlannedRollout:
    """Say how a rollout of a model would go; nothing is changed.

    Raises:
        ModelError: a new replica cannot start anywhere; the numbers of each node are told.
    """
    known(inventory, name)
    lock = BundleLock.load(inventory.settings.bundle_dir)
    check_images(inventory, lock, (name,))
    with progress.step("plan", name), open_cluster(inventory) as cluster:
        (choice,) = models.choices(cluster, inventory, lock, names=(name,), restart=restart)
    return planned(choice)


def roll_out(
    inventory: Inventory, name: str, progress: Progress, *, restart: bool
) -> tuple[PlannedRollout, tuple[ReadyModel, ...]]:
    """Roll a model's present file out and wait for it; back to what served before when it does not become ready.

    Args:
        inventory: holds the model and names the cluster.
        name: of the model.
        progress: shows replicas.
        restart: replace its replicas although nothing about them changes.

    Raises:
        ModelError: a new replica cannot start anywhere (nothing was changed), or the new revision was taken back.
    """
    known(inventory, name)
    lock = BundleLock.load(inventory.settings.bundle_dir)
    check_images(inventory, lock, (name,))
    with journaled(inventory, "model rollout", progress) as alone, open_cluster(inventory) as cluster:
        with alone():
            deployed = models.deploy(cluster, inventory, lock, progress, names=(name,), restart=restart)
        ready = _wait(cluster, inventory, deployed, progress, (name,))
    return planned(deployed.choices[0]), ready


def remove(inventory: Inventory, name: str, progress: Progress) -> RemovedModel:
    """Take a model out of the cluster and wait until its replicas have finished.

    Raises:
        ModelError: there is no such model in the cluster.
    """
    selector = f"{MODEL_LABEL}={name}"
    with journaled(inventory, "model remove", progress) as alone, open_cluster(inventory) as cluster:
        with alone():
            _check_deployed(cluster, name)
            around = surroundings(cluster)
            left = [model for model in inventory.models if model.name != name]
            shared = shared_objects(cluster, left, around, without=name)
            gone = apply_set(cluster, models.MODELS_SET, shared, progress, within=selector).pruned
        with progress.step("stop replicas", name):
            _wait_gone(cluster, selector)
    found, _ = read_models(model_files(inventory.path))
    file = next((str(item.document.file) for item in found if item.spec.name == name), "")
    return RemovedModel(name, gone, file)


def check_images(inventory: Inventory, lock: BundleLock, names: Sequence[str] = ()) -> None:
    """Refuse models whose images the cluster's registry does not have; all of them are named.

    Raises:
        ModelError: with every missing image; nothing was changed.
    """
    wanted = [found for found in models.images(inventory, lock) if not names or found.model in names]
    with open_registry(inventory) as registry:
        missing = [
            f"{found.model}: {reference}"
            for found in wanted
            for reference in (found.engine, found.weights)
            if registry.digest(*_place(reference)) is None
        ]
    if missing:
        raise ModelError(
            f"the cluster's registry lacks {len(missing)} images; nothing was changed",
            remedy=f"push them: llmprov bundle push -i {inventory.path}, or llmprov model push for weights of your own",
            details=tuple(missing),
        )


def parse_replicas(text: str) -> ReplicaRange:
    """Read `2` or `1-4`."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ModelError(f"{text!r} is no number of replicas", remedy="write 2, or 1-4 to follow the load")
    try:
        return ReplicaRange(min=int(found["min"]), max=int(found["max"] or found["min"]))
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ModelError(f"{text!r} is no number of replicas: {problem}", remedy="write 2, or 1-4") from error


def known(inventory: Inventory, name: str) -> None:
    """Raise ModelError when the inventory has no model of that name."""
    names = [model.name for model in inventory.models]
    if name not in names:
        raise ModelError(
            f"the inventory has no model {name!r}",
            remedy=remedy_for(name, names, f"it has: {', '.join(names) or 'none'}"),
        )


def planned(choice: Choice) -> PlannedRollout:
    """Turn a choice into what is printed."""
    return PlannedRollout(choice.model, choice.move.value, choice.why, choice.nodes, choice.warning)


def _wait(
    cluster: Cluster, inventory: Inventory, deployed: models.Deployed, progress: Progress, names: Sequence[str]
) -> tuple[ReadyModel, ...]:
    """Wait until the models answer and their autoscalers have data."""
    ready = models.wait_ready(cluster, inventory, progress, deployed, names=names)
    models.wait_scaled(cluster, inventory, ready, progress)
    return ready


def _check_room(choices: Sequence[Choice]) -> None:
    short = [choice for choice in choices if choice.missing]
    if short:
        raise ModelError(
            f"{short[0].warning}; nothing was changed",
            remedy="free GPUs (`llmprov status` counts them), add a GPU worker, or ask for fewer replicas",
            details=tuple(choice.why for choice in short),
        )


def _check_deployed(cluster: Cluster, name: str) -> None:
    names = [
        Header.model_validate(item).metadata.name
        for item in cluster.list(DEPLOYMENT, NAMESPACE, selector=MODEL_LABEL).items
    ]
    if name not in names:
        raise ModelError(
            f"there is no model {name!r} in the cluster",
            remedy=remedy_for(name, names, f"there are: {', '.join(names) or 'none'}"),
        )


def _wait_gone(cluster: Cluster, selector: str) -> None:
    def decide(items: Sequence[Object]) -> bool | None:
        return None if items else True

    if watch_until(cluster, Selection(POD, NAMESPACE, selector), decide, seconds=_STOP_SECONDS) is None:
        raise ClusterError(
            f"replicas are still there {_STOP_SECONDS:.0f} s after they were told to stop",
            remedy="look at their node: llmprov status; kubectl -n llmprov-models get pods",
        )


def _place(reference: str) -> tuple[str, str]:
    parsed = ImageRef.parse(reference)
    return f"{parsed.host}/{parsed.repository}", str(parsed.digest)
