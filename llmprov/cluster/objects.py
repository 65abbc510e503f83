"""The parts of Kubernetes objects that llmprov reads, as frozen values; names and shapes are the API's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type: `Kind("apps/v1", "Deployment")`."""

    api_version: str
    kind: str


NAMESPACE = Kind("v1", "Namespace")
NODE = Kind("v1", "Node")
POD = Kind("v1", "Pod")
EVENT = Kind("v1", "Event")
SERVICE = Kind("v1", "Service")
SECRET = Kind("v1", "Secret")
DEPLOYMENT = Kind("apps/v1", "Deployment")
REPLICA_SET = Kind("apps/v1", "ReplicaSet")
DAEMONSET = Kind("apps/v1", "DaemonSet")


LET_GO = "llmprov.io/let-go"
"""Annotation of a pod that a drain took off its Deployment: the number of replicas that must serve before it goes."""


class View(BaseModel):
    """What is read of an API object; fields that llmprov does not use are dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Owner(View):
    """What an object belongs to, and goes with."""

    kind: str = ""
    name: str = ""


class Meta(View):
    """`metadata`."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    owner_references: tuple[Owner, ...] = ()
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Header(View):
    """What every object has."""

    api_version: str = ""
    kind: str = ""
    metadata: Meta

    @property
    def resource(self) -> Kind:
        """The resource type."""
        return Kind(self.api_version, self.kind)

    @property
    def label(self) -> str:
        """How messages name it: `Deployment llmprov-models/smollm2`."""
        prefix = f"{self.metadata.namespace}/" if self.metadata.namespace else ""
        return f"{self.kind} {prefix}{self.metadata.name}"


class Condition(View):
    """An entry of `status.conditions`."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class Conditions(View):
    """The `status.conditions` of an object."""

    conditions: tuple[Condition, ...] = ()

    @field_validator("conditions", mode="before")
    @classmethod
    def _none_yet(cls, value: object) -> object:
        # A fresh CustomResourceDefinition has null here.
        return value or ()

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def holds(self, kind: str) -> bool:
        """Whether the condition is there and True."""
        found = self.condition(kind)
        return found is not None and found.status == "True"


class NodeInfo(View):
    """`status.nodeInfo` of a Node."""

    kubelet_version: str = ""
    container_runtime_version: str = ""
    os_image: str = ""
    kernel_version: str = ""


class Taint(View):
    """What keeps pods off a node."""

    key: str = ""
    effect: str = ""


class ContainerImage(View):
    """An image that a node has, by all its names."""

    names: tuple[str, ...] = ()


class NodeStatus(Conditions):
    """`status` of a Node."""

    capacity: Mapping[str, str] = Field(default_factory=dict)
    allocatable: Mapping[str, str] = Field(default_factory=dict)
    images: tuple[ContainerImage, ...] = ()
    node_info: NodeInfo = NodeInfo()


class NodeSpec(View):
    """`spec` of a Node."""

    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class Node(Header):
    """A Node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Waiting(View):
    """Why a container does not run."""

    reason: str = ""
    message: str = ""


class Running(View):
    """Since when a container runs."""

    started_at: datetime | None = None


class Terminated(View):
    """How a container ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    finished_at: datetime | None = None


class ContainerState(View):
    """`state` and `lastState` of a container: one of the three."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(View):
    """What the kubelet says of a container."""

    name: str
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(Conditions):
    """`status` of a Pod."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    container_statuses: tuple[ContainerStatus, ...] = ()


class Resources(View):
    """What a container asks for."""

    requests: Mapping[str, str] = Field(default_factory=dict)


class Container(View):
    """A container of a pod's specification."""

    name: str
    image: str = ""
    resources: Resources = Resources()


class PodSpec(View):
    """`spec` of a Pod."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()


class Pod(Header):
    """A Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self.status.holds("Ready") and self.metadata.deletion_timestamp is None

    @property
    def let_go(self) -> bool:
        """Whether a drain took it off its Deployment: it serves until another replica does."""
        return LET_GO in self.metadata.annotations

    @property
    def ended(self) -> bool:
        """Whether it will never run again: evicted, refused by the kubelet after a reboot, or done."""
        return self.status.phase in {"Failed", "Succeeded"}


class ObjectReference(View):
    """What an Event is about."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class Event(Header):
    """An Event of the core API."""

    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    involved_object: ObjectReference = ObjectReference()
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
