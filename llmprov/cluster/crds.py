"""Waits until the API serves the kinds that CustomResourceDefinitions define."""

from collections.abc import Iterable, Sequence

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.kinds import CRD
from llmprov.cluster.objects import Conditions, Header, Kind, View
from llmprov.cluster.wait import Selection, watch_until
from llmprov.errors import ClusterError

_SECONDS = 60.0


class DefinitionNames(View):
    """`spec.names` of a CustomResourceDefinition."""

    kind: str = ""


class DefinitionVersion(View):
    """An entry of `spec.versions` of a CustomResourceDefinition."""

    name: str = ""
    served: bool = True


class DefinitionSpec(View):
    """`spec` of a CustomResourceDefinition."""

    group: str = ""
    names: DefinitionNames = DefinitionNames()
    versions: tuple[DefinitionVersion, ...] = ()


class Definition(Header):
    """A CustomResourceDefinition."""

    spec: DefinitionSpec = DefinitionSpec()
    status: Conditions = Conditions()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What it makes the API serve."""
        served = (version for version in self.spec.versions if version.served)
        return tuple(Kind(f"{self.spec.group}/{version.name}", self.spec.names.kind) for version in served)


def wait_established(cluster: Cluster, names: Iterable[str], *, selector: str, seconds: float = _SECONDS) -> None:
    """Wait until the API serves every version of these CustomResourceDefinitions.

    Args:
        cluster: where they were applied.
        names: of the definitions.
        selector: labels that all of them carry.
        seconds: how long at most.

    Raises:
        ClusterError: the API server refuses a definition's names, or takes too long.
    """
    waiting = set(names)
    refused: dict[str, str] = {}

    def decide(items: Sequence[Object]) -> bool | None:
        for definition in map(Definition.model_validate, items):
            name = definition.metadata.name
            accepted = definition.status.condition("NamesAccepted")
            if accepted is not None and accepted.status == "False" and name in waiting:
                refused[name] = accepted.message
            # Conditions come before discovery knows the kind.
            if definition.status.holds("Established") and all(map(cluster.serves, definition.kinds)):
                waiting.discard(name)
        return True if refused or not waiting else None

    watch_until(cluster, Selection(CRD, selector=selector), decide, seconds=seconds)
    if refused:
        raise ClusterError(
            "the API server does not accept the names of custom resources",
            remedy="another definition has them: see `kubectl get crd`",
            details=tuple(f"{name}: {why}" for name, why in sorted(refused.items())),
        )
    if waiting:
        raise ClusterError(
            f"the API server does not serve custom resources after {seconds:.0f} s",
            remedy="look at the API server: llmprov status",
            details=tuple(sorted(waiting)),
        )
