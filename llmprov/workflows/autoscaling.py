"""The autoscaling station: KEDA, and proof that it sees what each model has to do."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from threading import Event
from typing import cast

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import Applied
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import DEPLOYMENT, Kind
from llmprov.cluster.pods import ReplicaTiming
from llmprov.cluster.prometheus import instant
from llmprov.cluster.rollout import Workload, wait_rolled_out
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError, ModelError
from llmprov.inventory import Inventory, ModelSpec
from llmprov.manifests.autoscaling import (
    ADAPTER,
    NAMESPACE,
    OPERATOR,
    KedaImages,
    keda_objects,
    kv_cache_query,
    requests_query,
)
from llmprov.manifests.model import NAMESPACE as MODELS
from llmprov.progress import Progress
from llmprov.workflows.object_sets import ObjectSet, apply_sets
from llmprov.workflows.references import manifests_of, pinned
from llmprov.workflows.rollout_replicas import SCALED_OBJECT

AUTOSCALING_SET = "autoscaling"
IMAGES = ("keda-operator", "keda-metrics-apiserver")
API_SERVICE = Kind("apiregistration.k8s.io/v1", "APIService")
_EXTERNAL_METRICS = "v1beta1.external.metrics.k8s.io"
_EXTERNAL_METRICS_PATH = "/apis/external.metrics.k8s.io/v1beta1"
# Label by which KEDA finds the ScaledObject that a metric is asked for.
_OWNER = "scaledobject.keda.sh/name"
_SECONDS = 300.0
# A new replica's metrics are there after a scrape; the autoscaler asks every 15 s.
_DATA_SECONDS = 120.0
_PAUSE = 1.0


def images(inventory: Inventory, lock: BundleLock) -> tuple[str, ...]:  # noqa: ARG001 - the shape of a station
    """Return the names of the bundle's images that KEDA's pods run."""
    return IMAGES


def sets(api: Cluster, inventory: Inventory, lock: BundleLock) -> tuple[ObjectSet, ...]:  # noqa: ARG001 - every station's signature
    """Return what the station applies.

    Raises:
        BundleError: the bundle lacks something, or its release of KEDA is not the expected one.
    """
    release = manifests_of(inventory, lock, "keda-manifests")
    operator, adapter = (pinned(lock.image(name)) for name in IMAGES)
    images_used = KedaImages(operator=operator, adapter=adapter)
    return (ObjectSet(AUTOSCALING_SET, keda_objects(release, images_used, inventory.settings.dns_domain)),)


def apply(
    api: Cluster, inventory: Inventory, lock: BundleLock, progress: Progress, *, live: LiveObjects | None = None
) -> Applied:
    """Apply KEDA.

    Raises:
        ClusterError: the API refuses an object.
        BundleError: the bundle lacks something, or its release of KEDA is not the expected one.
    """
    return apply_sets(api, sets(api, inventory, lock), progress, live=live)


def wait(api: Cluster, inventory: Inventory, progress: Progress) -> None:  # noqa: ARG001 - the shape of a station
    """Wait until KEDA runs and the API server gets metrics from it.

    Raises:
        ClusterError: a pod cannot start, or the metrics' API is not available; with what it says.
    """
    workloads = [
        Workload(DEPLOYMENT, NAMESPACE, name, {"app": name}, _SECONDS, title=name) for name in (OPERATOR, ADAPTER)
    ]
    wait_rolled_out(api, NAMESPACE, workloads, progress)
    with progress.step("external metrics"):
        _wait_api(api)


def wait_models(
    api: Cluster, models: Sequence[ModelSpec], loads: Mapping[str, Sequence[ReplicaTiming]], progress: Progress
) -> None:
    """Wait until the autoscaler of every model that has one works on data; check that it is slower than a load.

    Args:
        api: where.
        models: that serve; those with a fixed number of replicas are left out.
        loads: how long their replicas took to load, by name.
        progress: shows what is waited for.

    Raises:
        ClusterError: Prometheus has no data for a model, or KEDA cannot use them.
        ModelError: a model's cool-down is shorter than its replicas took to load.
    """
    scaled = [model for model in models if model.autoscaled]
    if not scaled:
        return
    check_cooldowns(scaled, loads)
    with progress.step("autoscalers", ", ".join(model.name for model in scaled)):
        _poll(lambda: [line for model in scaled for line in _blind(api, model)], _blind_error)
        _poll(lambda: [line for model in scaled for line in _unread(api, model.name)], _not_working)
        _wait_scaled(api, scaled)


def check_cooldowns(models: Sequence[ModelSpec], loads: Mapping[str, Sequence[ReplicaTiming]]) -> None:
    """Refuse a cool-down in which a replica that is taken away could not be loaded again.

    Raises:
        ModelError: with the seconds of each such model.
    """
    findings = tuple(
        f"{model.name}: cool-down {model.cooldown_seconds} s, a replica took {took:.0f} s to load"
        for model in models
        if (took := load_seconds(loads.get(model.name, ()))) is not None and took >= model.cooldown_seconds
    )
    if findings:
        raise ModelError(
            "replicas would be taken away sooner than they can be loaded again",
            remedy="raise autoscaling.cooldown_seconds in the model's file, or leave it out",
            details=findings,
        )


def load_seconds(replicas: Sequence[ReplicaTiming]) -> float | None:
    """Return how long a replica takes to load, the median of those that are known; pulling comes ahead of that."""
    known = [replica.engine_start_seconds for replica in replicas if replica.engine_start_seconds is not None]
    return median(known) if known else None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What KEDA says of a model's autoscaler."""

    ready: bool
    fallback: bool
    message: str


def conditions(api: Cluster, name: str) -> Conditions | None:
    """Return what KEDA says of a model's autoscaler, None when it has none."""
    found = api.get(SCALED_OBJECT, name, MODELS) if api.serves(SCALED_OBJECT) else None
    return None if found is None else _state(found)


def _state(item: Object | None) -> Conditions:
    """Read the conditions of a ScaledObject; None for one that is not there."""
    if item is None:
        return Conditions(ready=False, fallback=False, message="it is not there")
    listed = cast("Sequence[Mapping[str, str]]", _status(item).get("conditions") or ())
    by_type = {entry["type"]: entry for entry in listed}
    ready = by_type.get("Ready", {})
    return Conditions(
        ready=ready.get("status") == "True",
        fallback=by_type.get("Fallback", {}).get("status") == "True",
        message=ready.get("message", "KEDA has not looked at it yet"),
    )


def _blind(api: Cluster, model: ModelSpec) -> list[str]:
    """Say which of a model's queries have no data."""
    try:
        queries = (requests_query(model.name), kv_cache_query(model.name))
        return [f"{model.name}: no data for {query}" for query in queries if not instant(api, query)]
    except ClusterError as error:
        return [f"{model.name}: {error.message}"]


def _blind_error(lines: Sequence[str]) -> ClusterError:
    return ClusterError(
        "autoscaling is blind: Prometheus has no data of the engines",
        remedy="look at Prometheus' targets: is the model's pod scraped, does its /metrics answer?",
        details=tuple(lines),
    )


def _unread(api: Cluster, name: str) -> list[str]:
    """Say which of a model's metrics KEDA does not hand out when Kubernetes asks for them.

    It looks when it is asked, and forgets then what failed while the engine started: nobody has to wait for its next
    look by itself.
    """
    found = api.get(SCALED_OBJECT, name, MODELS)
    metrics = cast("Sequence[str]", _status(found).get("externalMetricNames") or ())
    if not metrics:
        return [f"{name}: {_state(found).message}"]
    return [f"{name}: {wrong}" for metric in metrics if (wrong := _ask(api, name, metric))]


def _ask(api: Cluster, name: str, metric: str) -> str:
    """Ask for one metric as the Horizontal Pod Autoscaler does; say what is wrong, empty when there are values."""
    path = f"{_EXTERNAL_METRICS_PATH}/namespaces/{MODELS}/{metric}"
    try:
        with api.open("GET", path, query={"labelSelector": f"{_OWNER}={name}"}) as response:
            values = json.loads(response.read()).get("items")
    except ClusterError as error:
        return f"{metric}: {error.message}"
    return "" if values else f"{metric}: no values"


def _not_working(lines: Sequence[str]) -> ClusterError:
    """Return the error of autoscalers; each line begins with the name of its model."""
    names = sorted({line.partition(":")[0] for line in lines})
    return ClusterError(
        f"the autoscalers of {', '.join(names)} do not work after {_DATA_SECONDS:.0f} s",
        remedy=f"look at KEDA: kubectl -n {NAMESPACE} logs deployment/{OPERATOR}",
        details=tuple(sorted(lines)),
    )


def _wait_scaled(api: Cluster, models: Sequence[ModelSpec]) -> None:
    wanted = {model.name for model in models}
    waiting: dict[str, str] = {}

    def decide(items: Sequence[Object]) -> bool | None:
        found = {_name(item): item for item in items}
        states = {name: _state(found.get(name)) for name in wanted}
        waiting.clear()
        waiting.update({name: state.message for name, state in states.items() if not state.ready or state.fallback})
        return None if waiting else True

    if watch_until(api, Selection(SCALED_OBJECT, MODELS), decide, seconds=_DATA_SECONDS) is None:
        raise _not_working([f"{name}: {message}" for name, message in waiting.items()])


def _wait_api(api: Cluster) -> None:
    def unavailable() -> list[str]:
        found = api.get(API_SERVICE, _EXTERNAL_METRICS)
        listed = cast("Sequence[Mapping[str, str]]", _status(found).get("conditions") or ())
        available = next((entry for entry in listed if entry["type"] == "Available"), {})
        return [] if available.get("status") == "True" else [available.get("message", "it has not been looked at yet")]

    def error(lines: Sequence[str]) -> ClusterError:
        return ClusterError(
            f"{_EXTERNAL_METRICS} is not available after {_DATA_SECONDS:.0f} s",
            remedy=f"look at KEDA's adapter: kubectl -n {NAMESPACE} logs deployment/{ADAPTER}",
            details=tuple(lines),
        )

    _poll(unavailable, error)


def _poll(look: Callable[[], list[str]], error: Callable[[Sequence[str]], ClusterError]) -> None:
    """Look until nothing is missing any more."""
    deadline = time.monotonic() + _DATA_SECONDS
    while missing := look():
        if time.monotonic() > deadline:
            raise error(missing)
        Event().wait(_PAUSE)


def _status(item: Object | None) -> Mapping[str, object]:
    return cast("Mapping[str, object]", (item or {}).get("status") or {})


def _name(item: Object) -> str:
    return cast("Mapping[str, str]", item["metadata"])["name"]
