"""What is there, against what should be: all hosts probed and the cluster's objects compared at the same time."""

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace

from llmprov.bundle.lock import BundleLock
from llmprov.errors import ClusterError, HostConnectionError, LlmprovError
from llmprov.host_state import HostProbe, Unprobed
from llmprov.inventory import Inventory
from llmprov.plans import ObjectPlan, Plan, Trouble
from llmprov.progress import Progress
from llmprov.stages import Runner, Stage
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.install_images import Staged, staged_images
from llmprov.workflows.plan_hosts import missing_content, plan_hosts
from llmprov.workflows.plan_objects import plan_objects
from llmprov.workflows.probe import probe_hosts
from llmprov.workflows.stations import station_images

_NO_CLUSTER = "there is no cluster yet: everything in it will be created"
_PATIENCE = 5.0


@dataclass(frozen=True)
class Survey:
    """What was found, and what follows from it.

    Attributes:
        plan: of the chosen hosts and stages.
        probes: of the hosts that answered, whether chosen or not.
        unprobed: the others, with the reason.
        images: that this installation uses.
    """

    plan: Plan
    probes: tuple[HostProbe, ...]
    unprobed: tuple[Unprobed, ...]
    images: Staged

    @property
    def cluster_exists(self) -> bool:
        """Whether some host is a complete control plane."""
        return any(probe.control_plane for probe in self.probes)


def survey(
    inventory: Inventory,
    lock: BundleLock,
    stages: Sequence[Stage],
    progress: Progress,
    *,
    chosen: Collection[str] = (),
    objects: bool = True,
    diff: bool = False,
) -> Survey:
    """Probe every host, compare the cluster's objects meanwhile, and plan. Nothing is changed.

    Args:
        inventory: what should be.
        lock: of the bundle.
        stages: that are looked at.
        progress: shows both.
        chosen: names of hosts; empty for all. Others are probed, as stages depend on each other's hosts, not planned.
        objects: whether to compare what lives in Kubernetes.
        diff: whether to find out how files differ that somebody else changed.

    Raises:
        InstallError: a newer llmprov has worked on a host.
        LlmprovError: the inventory or the bundle lacks something.
    """
    began = time.monotonic()
    names = {stage.name for stage in stages}
    models = inventory.models if "models" in names else ()
    images = staged_images(models, lock, station_images(inventory, lock, names))
    with ThreadPoolExecutor(1) as pool:
        compare = objects and any(stage.runner is Runner.PYTHON for stage in stages)
        context = copy_context()
        comparing = pool.submit(context.run, _objects, inventory, lock, stages, progress) if compare else None
        probes, unprobed = probe_hosts(inventory, progress, diff=diff)
        planned = plan_hosts(inventory, lock, probes, stages)
        found = comparing.result() if comparing else _Found()
    plan = Plan(
        stages=tuple(item for item in planned if not chosen or item.host in chosen),
        push=missing_content(inventory, lock, probes, images.push_order) if "registry" in names else (),
        objects=found.objects,
        troubles=found.troubles,
        objects_unknown=found.unknown,
    )
    return Survey(replace(plan, seconds=time.monotonic() - began), probes, unprobed, images)


@dataclass(frozen=True)
class _Found:
    objects: tuple[ObjectPlan, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    unknown: str = ""


def _objects(inventory: Inventory, lock: BundleLock, stages: Sequence[Stage], progress: Progress) -> _Found:
    """Compare the objects; a cluster that is not there, or does not answer, is part of what is found."""
    try:
        with open_cluster(inventory, patience=_PATIENCE) as cluster:
            objects, troubles = plan_objects(cluster, inventory, lock, [stage.name for stage in stages], progress)
    except (ClusterError, HostConnectionError) as error:
        return _Found(unknown=_why(error))
    return _Found(objects, troubles)


def _why(error: LlmprovError) -> str:
    return _NO_CLUSTER if "no control plane yet" in error.message else error.message
