"""Deployments and DaemonSets: how many pods they are to have, and whether all of these are of the newest template."""

from llmprov.cluster.objects import Conditions, Header, View

REVISION = "deployment.kubernetes.io/revision"
"""Annotation of Deployments and ReplicaSets: counts templates."""
_FIRST = "1"


class WorkloadSpec(View):
    """`spec` of a Deployment."""

    replicas: int = 1


class WorkloadStatus(Conditions):
    """`status` of a Deployment or DaemonSet."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    desired_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0


class _Workload(Header):
    status: WorkloadStatus = WorkloadStatus()

    @property
    def observed(self) -> bool:
        """Whether its controller has seen its present specification."""
        return self.status.observed_generation >= self.metadata.generation


class Deployment(_Workload):
    """A Deployment."""

    spec: WorkloadSpec = WorkloadSpec()

    @property
    def wanted(self) -> int:
        """How many pods it is to have."""
        return self.spec.replicas

    @property
    def rolled_out(self) -> bool:
        """Whether every replica is of the newest template and serves, and no older one is left.

        A replica that takes another's place has to stay ready for `minReadySeconds`: it is available then. Those of
        the first template replace none, and serve as soon as they are ready.
        """
        status, wanted = self.status, self.spec.replicas
        first = self.metadata.annotations.get(REVISION) == _FIRST
        serving = status.ready_replicas if first else status.available_replicas
        return self.observed and status.updated_replicas == status.replicas == serving == wanted


class DaemonSet(_Workload):
    """A DaemonSet."""

    @property
    def wanted(self) -> int:
        """How many pods it is to have."""
        return self.status.desired_number_scheduled

    @property
    def rolled_out(self) -> bool:
        """Whether every node it wants runs an available pod of the newest template."""
        status = self.status
        wanted = status.desired_number_scheduled
        return self.observed and wanted > 0 and status.updated_number_scheduled == status.number_available == wanted
