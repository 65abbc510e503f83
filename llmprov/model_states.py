"""What `llmprov model` finds out about served models: values that workflows make and `report` prints."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of the inventory or of the cluster.

    Attributes:
        name: of the model.
        served_name: what clients put in `model`.
        replicas: as its file says: `2`, or `1-4`; empty when it is not in the inventory.
        ready: replicas that serve.
        wanted: replicas that are to serve now.
        gpus: of one replica; None when it is not in the inventory.
        revision: counts its rollouts; empty when it is not deployed.
        created: when it was first deployed.
        state: `ready`, `not deployed`, `not in the inventory`, or what is waited for.
    """

    name: str
    served_name: str
    replicas: str
    ready: int
    wanted: int
    gpus: int | None
    revision: str
    created: datetime | None
    state: str


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """A model's autoscaler: its bounds, and what it goes by.

    Attributes:
        min: replicas that serve however little there is to do.
        max: replicas that serve however much there is to do.
        target_requests: that one replica is to have.
        kv_cache_percent: how full the KV cache of one replica is to be at most.
        cooldown_seconds: for how long fewer replicas must have been enough before one is taken away.
        requests: that run or wait now; None without data.
        kv_cache: how full the caches are now, in percent, on average over ready replicas; None without data.
        state: `working`, `blind: …`, or why it does not work.
    """

    min: int
    max: int
    target_requests: int
    kv_cache_percent: int
    cooldown_seconds: int
    requests: float | None
    kv_cache: float | None
    state: str


@dataclass(frozen=True, slots=True)
class ModelDetail:
    """Everything `llmprov model show` prints."""

    model: ServedModel
    endpoint: str
    engine: str
    weights: str
    arguments: tuple[str, ...]
    replicas: tuple[str, ...]
    autoscaling: Autoscaling | None
    stop_seconds: int
    """From being told to stop until a replica is killed."""


@dataclass(frozen=True, slots=True)
class PlannedRollout:
    """How a model's replicas will be, or were, replaced.

    Attributes:
        model: its name.
        move: `surge`, `drain-first`, `create` or `keep`.
        why: in numbers.
        nodes: where new replicas may start.
        warning: what a client will notice; empty when nothing.
    """

    model: str
    move: str
    why: str
    nodes: tuple[str, ...]
    warning: str


@dataclass(frozen=True, slots=True)
class RemovedModel:
    """A model that is gone; `file` is what still names it in the inventory, empty when nothing does."""

    name: str
    objects: tuple[str, ...]
    file: str
