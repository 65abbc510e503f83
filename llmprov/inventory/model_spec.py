"""A model as the user declares it: `models/NAME.yml`, one model a file.

The names follow Kubernetes and vLLM where these have one. The JSON Schema that editors use comes from these classes.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

DNS_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
SERVED_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,254}$"
"""What a model may be called by clients; the gateway routes by it."""
QUANTITY = r"^[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"

# Kubernetes allows no longer stabilisation.
_MAX_COOLDOWN = 3600

DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY)]
ServedName = Annotated[str, StringConstraints(pattern=SERVED_NAME)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelSource(_Spec):
    """Where the weights come from: exactly one of the keys."""

    image: NonEmpty | None = Field(
        default=None,
        description="Full reference of an image in the cluster's registry, such as `llmprov.internal/models/NAME:TAG`.",
    )
    artifact: NonEmpty | None = Field(default=None, description="Name of an image artifact of the bundle.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.image is None) == (self.artifact is None):
            raise ValueError("give exactly one of image, artifact")
        return self


class EngineSpec(_Spec):
    """The process that answers requests: vLLM."""

    image: NonEmpty = Field(
        default="vllm", description="Name of an image artifact of the bundle, or a full image reference."
    )
    args: tuple[str, ...] = Field(
        default=(), strict=False, description="Further vLLM arguments, appended to those that llmprov sets."
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of the engine; values are text. Not for secrets."
    )


class ResourceSpec(_Spec):
    """What one replica needs."""

    gpus: int = Field(default=1, ge=0, description="GPUs of one replica (`nvidia.com/gpu`).")
    memory: Quantity | None = Field(
        default=None,
        description="Memory of one replica, requested and limited, such as `64Gi`. Unset: no request and no limit.",
    )
    shared_memory: Quantity = Field(default="2Gi", description="Size of /dev/shm.")


class TimeoutSpec(_Spec):
    """How long a replica may take to come and to go, in seconds."""

    startup_seconds: int = Field(
        default=1800, ge=10, description="From container start to ready: loading weights, compiling, capturing graphs."
    )
    drain_seconds: int = Field(
        default=120, ge=0, description="For requests in flight to end, once a replica is told to stop."
    )


class ReplicaRange(_Spec):
    """How many copies serve at the same time: as many as the load asks for, within these bounds."""

    min: int = Field(ge=0, description="Copies that serve however little there is to do.")
    max: int = Field(ge=0, description="Copies that serve however much there is to do.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is more than max ({self.max})")
        if self.min == 0 < self.max:
            raise ValueError("min must be at least 1 when max is: without a replica nothing tells that one is needed")
        return self

    def __str__(self) -> str:
        return str(self.min) if self.min == self.max else f"{self.min}-{self.max}"


def _replicas(value: object) -> object:
    """A plain number is both bounds."""
    if isinstance(value, Mapping | ReplicaRange):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("should be a whole number, or two of them: {min: 1, max: 4}")  # noqa: TRY004 - what pydantic takes
    if value < 0:
        raise ValueError("should be greater than or equal to 0")
    return {"min": value, "max": value}


Replicas = Annotated[
    ReplicaRange,
    BeforeValidator(_replicas, json_schema_input_type=Annotated[int, Field(ge=0)] | ReplicaRange),
]


class RolloutSpec(_Spec):
    """How a new revision takes the place of the old one."""

    strategy: Literal["auto", "surge", "drain-first"] = Field(
        default="auto",
        description=(
            "`surge`: a new replica starts before an old one stops, refused when no node has the GPUs for it. "
            "`drain-first`: an old one stops first. `auto`: surge when the GPUs are there, else drain first."
        ),
    )
    undo: bool = Field(
        default=True, description="Go back to the previous revision when the new one does not become ready in time."
    )


class AutoscalingSpec(_Spec):
    """When replicas are added and taken away, between `replicas.min` and `replicas.max`."""

    target_requests: int = Field(
        default=16, ge=1, description="Requests, running and waiting, that one replica is to have."
    )
    kv_cache_percent: int = Field(
        default=80, ge=1, le=100, description="How full the KV cache of one replica is to be at most, on average."
    )
    cooldown_seconds: int | None = Field(
        default=None,
        ge=0,
        le=3600,
        description=(
            "For how long fewer replicas must have been enough before one is taken away. Must be longer than a replica "
            "takes to load. Default: `timeouts.startup_seconds`, at most 3600."
        ),
    )


class ModelSpec(_Spec):
    """One model and how it is served."""

    name: DnsLabel = Field(description="Name of the Deployment and Service: a DNS-1123 label, at most 63 characters.")
    source: ModelSource = Field(description="Where the weights come from.")
    served_name: ServedName | None = Field(
        default=None, description="The name clients put in `model`. Default: `name`."
    )
    engine: EngineSpec = Field(default_factory=EngineSpec)
    resources: ResourceSpec = Field(default_factory=ResourceSpec)
    replicas: Replicas = Field(
        default=ReplicaRange(min=1, max=1),
        description="Copies that serve at the same time: a number, or `{min, max}` to follow the load.",
    )
    max_model_len: int | None = Field(
        default=None, ge=1, description="Context length in tokens (prompt and answer). Default: the model's own."
    )
    timeouts: TimeoutSpec = Field(default_factory=TimeoutSpec)
    rollout: RolloutSpec = Field(default_factory=RolloutSpec)
    autoscaling: AutoscalingSpec = Field(default_factory=AutoscalingSpec)

    @property
    def public_name(self) -> str:
        """The name clients put in `model`."""
        return self.served_name or self.name

    @property
    def autoscaled(self) -> bool:
        """Whether the number of replicas follows the load."""
        return self.replicas.max > self.replicas.min

    @property
    def cooldown_seconds(self) -> int:
        """For how long fewer replicas must have been enough before one is taken away."""
        own = self.autoscaling.cooldown_seconds
        return min(self.timeouts.startup_seconds, _MAX_COOLDOWN) if own is None else own
