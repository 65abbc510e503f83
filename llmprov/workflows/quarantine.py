"""Hosts that fail are set aside, within bounds, and the rest goes on: one dead worker does not hold up a rack."""

from collections.abc import Iterable
from dataclasses import dataclass

from llmprov.errors import HostConnectionError, InstallError, LlmprovError
from llmprov.host_state import Unprobed
from llmprov.inventory import Inventory
from llmprov.preflight import PreflightReport
from llmprov.results import SetAside
from llmprov.runner import RunResult
from llmprov.runner.failures import CONNECTION_CAUSES


@dataclass(frozen=True)
class Bounds:
    """How much may fail.

    Attributes:
        inventory: whose hosts may fail.
        max_failed: workers, at most; None leaves only the bounds that always hold.
    """

    inventory: Inventory
    max_failed: int | None = None

    def refusal(self, failed: Iterable[str]) -> str:
        """Say why the rest must not go on without these hosts; empty when it may."""
        names = set(failed)
        planes = [host.name for host in self.inventory.control_plane]
        workers = [host.name for host in self.inventory.workers]
        lost, gone = [name for name in planes if name in names], [name for name in workers if name in names]
        if self.inventory.settings.first_control_plane in names:
            return f"{self.inventory.settings.first_control_plane} carries the registry: nothing can go on without it"
        if lost and len(planes) - len(lost) < len(planes) // 2 + 1:
            return f"{len(planes) - len(lost)} of {len(planes)} control planes are no quorum"
        if workers and len(gone) == len(workers):
            return "no worker is left"
        if self.max_failed is not None and len(gone) > self.max_failed:
            return f"it goes on without at most {self.max_failed} workers (--max-failed)"
        return ""


class Quarantine:
    """The hosts that one run goes on without.

    Args:
        inventory: of the whole run.
        max_failed: see `Bounds`.
        cluster_exists: a first install is refused when a host is unfit for it, unless `max_failed` allows for that:
            nothing was changed yet, and the inventory may be wrong rather than the host.
    """

    def __init__(self, inventory: Inventory, *, max_failed: int | None, cluster_exists: bool) -> None:
        self._before = Bounds(inventory, max_failed if cluster_exists or max_failed is not None else 0)
        self._within = Bounds(inventory, max_failed)
        self._aside: dict[str, SetAside] = {}

    @property
    def hosts(self) -> tuple[SetAside, ...]:
        """Those set aside so far, with the reason."""
        return tuple(self._aside.values())

    @property
    def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(self._aside)

    def unprobed(self, hosts: Iterable[Unprobed]) -> None:
        """Set hosts aside that do not answer.

        Raises:
            HostConnectionError: that is too much; each host is named.
        """
        found = [SetAside(host.host, host.problem, host.remedy) for host in hosts]
        why = self._before.refusal({item.host for item in found} | self.names)
        if found and why:
            raise HostConnectionError(
                f"{len(found)} host{'s do' if len(found) > 1 else ' does'} not answer: "
                f"{', '.join(item.host for item in found)}; {why}",
                remedy=found[0].remedy,
                details=tuple(item.line for item in found),
            )
        self._add(found)

    def unfit(self, report: PreflightReport) -> None:
        """Set hosts aside that preflight found unfit.

        Raises:
            LlmprovError: that is too much, or the fault is not one host's; every finding is named.
        """
        found = [SetAside(finding.host, finding.problem, finding.remedy) for finding in report.errors]
        single = all(item.host and "," not in item.host for item in found)
        if found and (not single or self._before.refusal({item.host for item in found} | self.names)):
            report.raise_for_errors()
        self._add(found)

    def failed(self, result: RunResult) -> None:
        """Set hosts aside on which a stage failed.

        Raises:
            LlmprovError: that is too much; each failed host is named.
        """
        if not result.failures:
            result.raise_for_failures("install")
            return
        failures = {failure.host: failure for failure in result.failures}
        if why := self._within.refusal({*failures, *self.names}):
            raise _with_reason(result, why)
        self._add(
            SetAside(
                failure.host,
                failure.line.removeprefix(f"{failure.host} ").removeprefix(f"{failure.host}: "),
                failure.remedy,
                connection=failure.cause in CONNECTION_CAUSES,
            )
            for failure in failures.values()
        )

    def _add(self, found: Iterable[SetAside]) -> None:
        for item in found:
            self._aside.setdefault(item.host, item)


def _with_reason(result: RunResult, why: str) -> LlmprovError:
    try:
        result.raise_for_failures("install")
    except LlmprovError as error:
        return type(error)(f"{error.message}; {why}", remedy=error.remedy, details=error.details)
    return InstallError(why)
