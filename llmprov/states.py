"""What the short verbs find out: values that workflows make and `report` prints."""

from dataclasses import dataclass, field
from datetime import datetime

from llmprov.cluster.nodes import NodeState
from llmprov.cluster.pods import ReplicaTiming
from llmprov.errors import ExitCode
from llmprov.observability.values import Alert


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; times in seconds from the request's sending."""

    model: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    first_token_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class HostState:
    """One host: whether SSH answers, and which stages it has finished."""

    name: str
    address: str
    reachable: bool
    stages: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model: its replicas, what those that are not ready do, and where it is reached."""

    name: str
    served_name: str
    ready: int
    wanted: int
    image: str
    endpoint: str
    created: datetime | None
    replicas: tuple[str, ...] = ()
    """What each replica does, such as `gpu1: starting engine (12 s)`."""

    @property
    def healthy(self) -> bool:
        """Whether as many replicas serve as are wanted."""
        return self.ready >= self.wanted


@dataclass(frozen=True, slots=True)
class Status:
    """Everything `llmprov status` shows."""

    cluster: str
    version: str
    hosts: tuple[HostState, ...]
    nodes: tuple[NodeState, ...]
    models: tuple[ModelState, ...]
    problem: str = ""
    """Why nodes and models are not known; empty when the API answered."""
    endpoint: str = ""
    """The gateway's base URL for clients; empty when there is no gateway."""
    alerts: tuple[Alert, ...] = ()
    """What fires, worst first."""
    monitoring: str = ""
    """Why alerts are not known; empty when they are."""

    @property
    def exit_code(self) -> ExitCode:
        """OK when everything is as it should be; else what is worst."""
        if not all(host.reachable for host in self.hosts):
            return ExitCode.CONNECTION
        if self.problem or not all(node.ready for node in self.nodes):
            return ExitCode.CLUSTER
        return ExitCode.OK if all(model.healthy for model in self.models) else ExitCode.MODEL


@dataclass(frozen=True, slots=True)
class PushedModel:
    """A model that is in the cluster's registry now.

    Attributes:
        name: of the model.
        reference: by digest, as a model's file names it.
        tag: under which it is listed.
        size: bytes of its layers.
        layers: how many.
        compressed: how many of them with zstd.
        sent: bytes that went over the wire this time.
        seconds: that the sending took.
    """

    name: str
    reference: str
    tag: str
    size: int
    layers: int
    compressed: int
    sent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the cluster's registry; `size` in bytes, `served_as` names the models that use it."""

    name: str
    tag: str
    reference: str
    size: int
    served_as: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A model that answers: its URL inside the cluster, and how long each replica took."""

    name: str
    endpoint: str
    replicas: tuple[ReplicaTiming, ...]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the gateway: who it is for, and when it was made (UTC, ISO 8601; empty when that is not known)."""

    name: str
    created: str
    key: str = field(repr=False, default="")
    """The key itself, where it was asked for."""
    models: tuple[str, ...] | None = None
    """Under which names it may ask for models; None: under all."""
