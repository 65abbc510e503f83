"""A model as the user declares it: `models/NAME.yml`, one model a file.

The names follow Kubernetes and vLLM where these have one. The JSON Schema that editors use comes from these classes.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

DNS_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
QUANTITY = r"^[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"

DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY)]
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


class ModelSpec(_Spec):
    """One model and how it is served."""

    name: DnsLabel = Field(description="Name of the Deployment and Service: a DNS-1123 label, at most 63 characters.")
    source: ModelSource = Field(description="Where the weights come from.")
    served_name: NonEmpty | None = Field(default=None, description="The name clients put in `model`. Default: `name`.")
    engine: EngineSpec = Field(default_factory=EngineSpec)
    resources: ResourceSpec = Field(default_factory=ResourceSpec)
    replicas: int = Field(default=1, ge=0, description="Copies that serve at the same time.")
    max_model_len: int | None = Field(
        default=None, ge=1, description="Context length in tokens (prompt and answer). Default: the model's own."
    )
    timeouts: TimeoutSpec = Field(default_factory=TimeoutSpec)

    @property
    def public_name(self) -> str:
        """The name clients put in `model`."""
        return self.served_name or self.name
