"""`llmprov model deploy`: the last step of an install, alone."""

from llmprov.bundle.lock import BundleLock
from llmprov.inventory import Inventory
from llmprov.progress import Progress
from llmprov.states import ReadyModel
from llmprov.workflows import models
from llmprov.workflows.cluster import open_cluster


def deploy(inventory: Inventory, progress: Progress, *, take_over: bool = False) -> tuple[ReadyModel, ...]:
    """Deploy every model of the inventory and wait until each answers.

    Args:
        inventory: holds the models and names the cluster.
        progress: shows objects and replicas.
        take_over: take fields over that somebody else has set.
    """
    lock = BundleLock.load(inventory.settings.bundle_dir)
    with open_cluster(inventory) as cluster:
        models.deploy(cluster, inventory, lock, progress, take_over=take_over)
        return models.wait_ready(cluster, inventory, progress)
