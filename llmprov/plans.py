"""What is to be done, as values: workflows make them, an install carries them out, `report` prints them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a stage of a host stands."""

    IN_SYNC = "in sync"
    MISSING = "missing"
    CHANGED = "changed"
    DRIFTED = "drifted"
    UNHEALTHY = "unhealthy"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Drift:
    """A managed file that somebody else changed or removed; `difference` is a unified diff where one is known."""

    path: str
    difference: str = ""
    removed: bool = False


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage of one host.

    Attributes:
        verdict: the worst that is true of it.
        reasons: what makes it so, one each: `variable base_extra_sysctls`, `artifact runc`, `unit … is failed`.
        drifts: files that are not as they were written.
    """

    host: str
    stage: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    drifts: tuple[Drift, ...] = ()


class ObjectAction(StrEnum):
    """What is to become of a Kubernetes object."""

    CREATE = "create"
    UPDATE = "update"
    PRUNE = "prune"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of an object by its path, `spec.replicas`; None: not there. Values of Secrets are never shown."""

    path: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """One Kubernetes object that is not as it should be; `label` reads like `Deployment llmprov-models/smollm2`."""

    stage: str
    action: ObjectAction
    label: str
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """A workload in the cluster that does not work as it should although nothing about it is to be changed."""

    stage: str
    what: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is to be done.

    Attributes:
        stages: of every host and stage, in the order in which they would run; those in sync, too.
        push: references of images, and of the files, that the cluster's registry lacks.
        objects: of the stages that Python owns.
        troubles: what does not work in the cluster.
        objects_unknown: why objects could not be compared; empty when they were.
        seconds: that making the plan took.
    """

    stages: tuple[StagePlan, ...]
    push: tuple[str, ...] = ()
    objects: tuple[ObjectPlan, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    objects_unknown: str = ""
    seconds: float = 0.0

    @property
    def unreachable(self) -> tuple[str, ...]:
        """Hosts that did not answer."""
        return tuple(dict.fromkeys(item.host for item in self.stages if item.verdict is Verdict.UNREACHABLE))

    @property
    def stages_in_cluster(self) -> frozenset[str]:
        """Stages of which an object is to be changed, or something does not work."""
        return frozenset([*(item.stage for item in self.objects), *(item.stage for item in self.troubles)])

    def to_run(self, *, repair_drift: bool = False) -> Mapping[str, tuple[str, ...]]:
        """Return the hosts by stage that an install would work on, stages in order.

        Args:
            repair_drift: also bring files back that somebody else changed.
        """
        doing = {Verdict.MISSING, Verdict.CHANGED, Verdict.UNHEALTHY} | ({Verdict.DRIFTED} if repair_drift else set())
        chosen: dict[str, list[str]] = {}
        for item in self.stages:
            if item.verdict in doing:
                chosen.setdefault(item.stage, []).append(item.host)
        return {stage: tuple(hosts) for stage, hosts in chosen.items()}

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done; what drifted counts, as somebody has to decide about it."""
        in_sync = all(item.verdict is Verdict.IN_SYNC for item in self.stages)
        return in_sync and not (self.push or self.objects or self.troubles or self.objects_unknown)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict that asks for the most; a stage that has to run anyway also repairs what drifted."""
    order = (Verdict.UNREACHABLE, Verdict.MISSING, Verdict.CHANGED, Verdict.UNHEALTHY, Verdict.DRIFTED)
    return next((verdict for verdict in order if verdict in verdicts), Verdict.IN_SYNC)
