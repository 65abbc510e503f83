"""What the verbs of `llmprov node` did: values that workflows make and `report` prints."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drained:
    """A node that is empty but for what belongs to every node.

    Attributes:
        node: its name; it takes no new pods.
        replaced: replicas of models that went once another was ready.
        evicted: other pods that went, as `namespace/name`.
        staying: how many pods of DaemonSets, and of the kubelet's own, are there.
        seconds: how long it took.
    """

    node: str
    replaced: tuple[str, ...]
    evicted: tuple[str, ...]
    staying: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Uncordoned:
    """A node that takes pods again.

    Attributes:
        node: its name.
        changed: whether it did not before.
        finished: replicas that a drain had replaced, or was about to, and that are gone now.
    """

    node: str
    changed: bool
    finished: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removed:
    """A host that is no node any more.

    Attributes:
        host: its name.
        forced: whether it was dead: neither drained nor reset.
        drained: how it was emptied; None when it was dead or no node.
        pods: those that went with the node, as `namespace/name`.
        member: whether it was a member of etcd, and is none any more.
        reset: whether the host is bare again.
        declared: whether the inventory still has it.
        seconds: how long it took.
    """

    host: str
    forced: bool
    drained: Drained | None
    pods: tuple[str, ...]
    member: bool
    reset: bool
    declared: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Added:
    """Hosts that are Ready nodes; `changes` counts the tasks that changed something on them."""

    hosts: tuple[str, ...]
    changes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Replaced:
    """One host that took another's place."""

    added: Added
    removed: Removed
