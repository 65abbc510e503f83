"""A pod that makes a node pull a model's images before a replica needs them."""

import hashlib

from llmprov.manifests.model import NAMESPACE
from llmprov.manifests.render import Inputs, Manifest, render

LABEL = "llmprov.io/prepull"
_NAME = 50
_HASH = 10


class PrepullInputs(Inputs):
    """What a pull depends on; images are references by digest."""

    name: str
    node: str
    engine_image: str
    weights_image: str
    seconds: int
    """How long it may take."""


class _TemplateInputs(PrepullInputs):
    namespace: str
    pod: str


def prepull_pod(inputs: PrepullInputs) -> Manifest:
    """Return the pod of one model on one node."""
    values = inputs.model_dump()
    (pod,) = render("prepull.yaml.j2", _TemplateInputs(**values, namespace=NAMESPACE, pod=pod_name(inputs)))
    return pod


def pod_name(inputs: PrepullInputs) -> str:
    """Return a name of at most 63 characters that differs for other images and other nodes."""
    what = f"{inputs.node} {inputs.engine_image} {inputs.weights_image}"
    return f"{inputs.name[:_NAME].rstrip('-')}-{hashlib.sha256(what.encode()).hexdigest()[:_HASH]}"
