"""Which kinds have to be there before models can be made."""

from collections.abc import Callable

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import Header
from llmprov.inventory import Inventory
from llmprov.workflows.model_objects import MODEL_KINDS, Surroundings, model_inputs, objects_of, shared_objects
from llmprov.workflows.references import model_images
from tests.unit.models.conftest import MODEL

KUBERNETES = {"v1", "apps/v1", "policy/v1"}


def test_they_are_those_of_models_objects_that_kubernetes_lacks(
    cluster: Cluster, make_inventory: Callable[..., Inventory], lock: BundleLock
) -> None:
    inventory = make_inventory({**MODEL, "replicas": {"min": 1, "max": 2}})
    around = Surroundings(autoscaling=True, gateway=True)
    (model,), (images,) = inventory.models, model_images(inventory, lock)
    objects = [
        *shared_objects(cluster, inventory.models, around, alone=True),
        *objects_of(model, model_inputs(model, images), around),
    ]
    found = {Header.model_validate(item).resource for item in objects}
    assert {kind for kind in found if kind.api_version not in KUBERNETES} == MODEL_KINDS
