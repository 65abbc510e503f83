"""A model's next revision: what it changes, which way it comes about, and the way back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from llmprov.cluster.client import FIELD_MANAGER, Cluster, Object
from llmprov.cluster.compare import APPLIED
from llmprov.cluster.nodes import GPU
from llmprov.cluster.objects import DEPLOYMENT, NAMESPACE, POD, Header, Pod
from llmprov.cluster.pods import utc_now
from llmprov.cluster.room import quantity, rooms
from llmprov.cluster.wait import Selection, watch_until
from llmprov.cluster.workloads import REVISION, Deployment
from llmprov.errors import ClusterError, ModelError
from llmprov.inventory import ModelSpec
from llmprov.manifests.model import DRAIN_FIRST, MODEL_LABEL, SURGE, ModelInputs, Strategy, model_objects
from llmprov.manifests.model import NAMESPACE as MODELS
from llmprov.progress import Progress
from llmprov.workflows.rollout_plan import Choice, Held, Move, Need, Size, choose

_RESTARTED = "llmprov.io/restarted-at"
_RESTARTER = "llmprov-restart"
_STRATEGIES: Mapping[Move, Strategy] = {
    Move.CREATE: SURGE,
    Move.SURGE: SURGE,
    Move.DRAIN_FIRST: DRAIN_FIRST,
}


@dataclass(frozen=True, slots=True)
class Revision:
    """A model as it is to be, and the Deployment that is there now.

    Attributes:
        spec: from the inventory.
        inputs: of its objects.
        live: the Deployment before, None for a model that is new.
        changed: whether its pods would be replaced.
    """

    spec: ModelSpec
    inputs: ModelInputs
    live: Object | None
    changed: bool


def revisions(cluster: Cluster, wanted: Sequence[tuple[ModelSpec, ModelInputs]], *, take_over: bool) -> list[Revision]:
    """Compare models with what is deployed, by asking the API what would become of each Deployment.

    Raises:
        ClusterError: the API refuses a Deployment; nothing was changed.
    """
    there = cluster.get(NAMESPACE, MODELS) is not None
    return [_revision(cluster, spec, inputs, there=there, take_over=take_over) for spec, inputs in wanted]


def plan(cluster: Cluster, found: Sequence[Revision], *, restart: bool = False) -> tuple[Choice, ...]:
    """Choose how each model's replicas are replaced.

    Args:
        cluster: whose nodes are counted.
        found: the models, in the order in which they get free GPUs.
        restart: replace replicas although nothing about them changes.

    Raises:
        ModelError: a new replica of some model cannot start anywhere.
    """
    listed = cluster.list(POD, MODELS, selector=MODEL_LABEL).items if any(item.live for item in found) else ()
    pods = [Pod.model_validate(item) for item in listed]
    return choose(rooms(cluster), [_need(item, pods, restart=restart) for item in found])


def strategy_of(choice: Choice, live: Object | None) -> Strategy:
    """Return how the Deployment is to replace its pods; while nothing is replaced, what it says stays."""
    return _STRATEGIES[choice.move] if choice.move in _STRATEGIES else present_strategy(live)


def present_strategy(live: Object | None) -> Strategy:
    """Return how a Deployment replaces its pods; what a new one would say when there is none."""
    rolling = _path(live or {}, "spec", "strategy", "rollingUpdate")
    try:
        return Strategy(max_surge=int(str(rolling["maxSurge"])), max_unavailable=int(str(rolling["maxUnavailable"])))
    except (KeyError, ValueError):
        return SURGE


def name_of(deployment: Object) -> str:
    """Return a Deployment's name."""
    return Header.model_validate(deployment).metadata.name


def serves(live: Object | None) -> bool:
    """Whether a Deployment has a replica that answers: something to go back to."""
    return live is not None and int(str(_path(live, "status").get("readyReplicas") or 0)) > 0


def restart(cluster: Cluster, name: str) -> None:
    """Replace every replica of a model by one like it.

    The mark is a manager's of its own: the next application of the model does not take it away, which would replace
    the replicas once more.
    """
    marked = {"metadata": {"annotations": {_RESTARTED: utc_now().isoformat(timespec="seconds")}}}
    target = {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.kind,
        "metadata": {"name": name, "namespace": MODELS},
        "spec": {"template": marked},
    }
    cluster.apply(target, force=True, manager=_RESTARTER)


def undo(cluster: Cluster, before: Object, progress: Progress, *, seconds: float) -> str:
    """Bring back the revision that was there before, and wait for it.

    Args:
        cluster: where.
        before: the Deployment as it was.
        progress: shows what is waited for.
        seconds: how long it may take.

    Returns:
        One sentence on what serves now.
    """
    name = name_of(before)
    live = cluster.get(DEPLOYMENT, name, MODELS) or before
    cluster.apply(restored(before, live), force=True)
    ready: list[int] = [0]

    def decide(items: Sequence[Object]) -> bool | None:
        found = next((Deployment.model_validate(item) for item in items if name_of(item) == name), None)
        ready[0] = found.status.ready_replicas if found else 0
        return True if found is None or found.rolled_out else None

    with progress.step(f"undo {name}"):
        # The pods of the bad revision are still there and still fail: only the Deployment's own words count.
        done = watch_until(cluster, Selection(DEPLOYMENT, MODELS, f"{MODEL_LABEL}={name}"), decide, seconds=seconds)
    if done is None:
        return f"the previous revision was brought back, but is not ready after {seconds:.0f} s"
    return f"the previous revision serves with {ready[0]} replicas"


def undone(name: str, cause: ClusterError, outcome: str) -> ModelError:
    """Make the error of a revision that was taken back."""
    return ModelError(
        f"model {name}: the new revision did not become ready and was taken back; {outcome}",
        remedy=cause.remedy,
        details=(cause.message, *(f"  {line}" for line in cause.details)),
    )


def restored(before: Object, live: Object) -> dict[str, object]:
    """Return the Deployment of before as an object to apply.

    The way of replacing replicas is that of now: the GPUs are as they are now. Their number, too, where it is llmprov
    that says it; else it is left to the autoscaler.
    """
    meta = _path(before, "metadata")
    # It was made from no manifest: the next application must not take it for what it wants.
    notes = _path(meta, "annotations").items()
    annotations = {key: value for key, value in notes if key not in {REVISION, APPLIED}}
    spec = dict(_path(before, "spec"))
    now = _path(live, "spec")
    spec |= {key: now[key] for key in ("replicas", "strategy") if key in now}
    if not owns_replicas(live):
        spec.pop("replicas", None)
    return {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.kind,
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": dict(_path(meta, "labels")),
            "annotations": annotations,
        },
        "spec": spec,
    }


def owns_replicas(deployment: Object, manager: str = FIELD_MANAGER) -> bool:
    """Whether a manager has applied the number of replicas."""
    entries = _path(deployment, "metadata").get("managedFields") or ()
    applied = [entry for entry in cast("Sequence[Object]", entries) if entry.get("operation") == "Apply"]
    return any(
        entry.get("manager") == manager and "f:replicas" in _path(entry, "fieldsV1", "f:spec") for entry in applied
    )


def _revision(cluster: Cluster, spec: ModelSpec, inputs: ModelInputs, *, there: bool, take_over: bool) -> Revision:
    live = cluster.get(DEPLOYMENT, inputs.name, MODELS) if there else None
    if not there:
        return Revision(spec, inputs, None, changed=True)
    # Who decides their number is another question: only the template is compared.
    asked = model_objects(inputs.model_copy(update={"replicas": None}))[-1]
    # As it is: what a rollout depends on must not depend on how it would be done.
    asked["spec"].pop("strategy")  # type: ignore[attr-defined]
    becomes = cluster.apply(asked, force=take_over, dry_run=True)
    return Revision(spec, inputs, live, changed=live is None or _template(becomes) != _template(live))


def _need(item: Revision, pods: Sequence[Pod], *, restart: bool) -> Need:
    spec = item.spec
    mine = [pod for pod in pods if pod.metadata.labels.get(MODEL_LABEL) == spec.name]
    there = [pod for pod in mine if pod.spec.node_name and not pod.ended]
    alive = [pod for pod in there if pod.metadata.deletion_timestamp is None and not pod.let_go]
    return Need(
        model=spec.name,
        size=Size(spec.resources.gpus, quantity(spec.resources.memory or "0")),
        replicas=spec.replicas.min,
        held=tuple(Held(pod.spec.node_name, _size(pod)) for pod in alive),
        exists=item.live is not None,
        changed=item.changed or (restart and item.live is not None),
        strategy=spec.rollout.strategy,
    )


def _size(pod: Pod) -> Size:
    asked = [container.resources.requests for container in pod.spec.containers]
    return Size(
        sum(quantity(item.get(GPU, "0")) for item in asked), sum(quantity(item.get("memory", "0")) for item in asked)
    )


def _template(deployment: Object) -> str:
    return json.dumps(_path(deployment, "spec", "template"), sort_keys=True)


def _path(item: Object, *keys: str) -> Mapping[str, object]:
    found: object = item
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return cast("Mapping[str, object]", found) if isinstance(found, Mapping) else {}
