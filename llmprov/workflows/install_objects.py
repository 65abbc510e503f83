"""The part of an install that lives in Kubernetes: nodes Ready, pod network, GPUs, models."""

from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.results import Objects
from llmprov.workflows.phases import Phases
from llmprov.workflows.push_beside import PushBeside


def apply(cluster: Inventory, stages: tuple[str, ...], push: PushBeside, phases: Phases, progress: Progress) -> Objects:
    """Bring the stages that Python owns about, as far as they are wanted."""
    raise NotImplementedError
