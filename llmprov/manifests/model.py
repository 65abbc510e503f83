"""A served model: vLLM replicas that mount the weights as an image volume, behind a Service."""

import math
from collections.abc import Mapping, Sequence

from llmprov.manifests.render import Inputs, Manifest, render

NAMESPACE = "llmprov-models"
MODEL_LABEL = "llmprov.io/model"
PORT = 8000

# After a pod is told to stop, traffic still arrives until every node has taken it out of the Service.
_DEREGISTER_SECONDS = 5
# What vLLM needs, after the last request, to end its processes.
_EXIT_SECONDS = 15
_STARTUP_PERIOD = 2
_ENVIRONMENT: dict[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # The user has no entry in the image's passwd, and libraries ask for a name and a home.
    "USER": "vllm",
    "HOME": "/cache",
    "XDG_CACHE_HOME": "/cache",
    "TORCHINDUCTOR_CACHE_DIR": "/cache/inductor",
    "TRITON_CACHE_DIR": "/cache/triton",
}


class Strategy(Inputs):
    """How many replicas a rolling update may add and take away at a time."""

    max_surge: int
    max_unavailable: int


SURGE = Strategy(max_surge=1, max_unavailable=0)
"""A new replica starts before an old one stops."""
DRAIN_FIRST = Strategy(max_surge=0, max_unavailable=1)
"""An old replica stops before a new one starts."""


class ModelInputs(Inputs):
    """What a model's objects depend on; images are references by digest."""

    name: str
    served_name: str
    engine_image: str
    weights_image: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    gpus: int = 1
    replicas: int | None = 1
    """None leaves their number to the autoscaler."""
    max_replicas: int | None = None
    """Up to which the autoscaler goes."""
    memory: str | None = None
    shared_memory: str = "2Gi"
    max_model_len: int | None = None
    startup_seconds: int = 1800
    drain_seconds: int = 120
    strategy: Strategy = SURGE


class QuotaInputs(Inputs):
    """What all models together may have at most; memory in bytes, None where a model asks for none."""

    replicas: int
    gpus: int
    memory: int | None


class _TemplateInputs(Inputs):
    namespace: str
    port: int
    model: ModelInputs
    mount_path: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    requests: Mapping[str, str]
    limits: Mapping[str, str]
    deregister_seconds: int
    grace_seconds: int
    startup_period: int
    startup_failures: int
    progress_seconds: int
    min_ready_seconds: int


class _NamespaceInputs(Inputs):
    namespace: str
    quota: QuotaInputs


def namespace_objects(quota: QuotaInputs) -> tuple[Manifest, ...]:
    """Return the namespace that all models share, with what they may have."""
    return render("models-namespace.yaml.j2", _NamespaceInputs(namespace=NAMESPACE, quota=quota))


def model_objects(inputs: ModelInputs) -> tuple[Manifest, ...]:
    """Return the objects of one model, without the namespace."""
    limits = {"nvidia.com/gpu": str(inputs.gpus)} if inputs.gpus else {}
    if inputs.memory:
        limits["memory"] = inputs.memory
    return render(
        "model.yaml.j2",
        _TemplateInputs(
            namespace=NAMESPACE,
            port=PORT,
            model=inputs,
            mount_path=mount_path(inputs.name),
            arguments=engine_arguments(inputs),
            environment={**_ENVIRONMENT, **inputs.env},
            requests=limits,
            limits=limits,
            deregister_seconds=_DEREGISTER_SECONDS,
            grace_seconds=grace_seconds(inputs.drain_seconds),
            startup_period=_STARTUP_PERIOD,
            startup_failures=math.ceil(inputs.startup_seconds / _STARTUP_PERIOD),
            # The Deployment gives up after the pod would have: scheduling and pulling come on top.
            progress_seconds=inputs.startup_seconds + 1800,
            min_ready_seconds=_DEREGISTER_SECONDS,
        ),
    )


def mount_path(name: str) -> str:
    """Where a pod finds the weights."""
    return f"/models/{name}"


def engine_arguments(inputs: ModelInputs) -> tuple[str, ...]:
    """Return the arguments of `vllm serve`; the user's own come last, and vLLM takes the last of a kind."""
    arguments = [mount_path(inputs.name), "--served-model-name", inputs.served_name, "--port", str(PORT)]
    arguments += ["--shutdown-timeout", str(inputs.drain_seconds)]
    if inputs.max_model_len is not None:
        arguments += ["--max-model-len", str(inputs.max_model_len)]
    if inputs.gpus > 1:
        arguments += ["--tensor-parallel-size", str(inputs.gpus)]
    return (*arguments, *inputs.args)


def grace_seconds(drain_seconds: int) -> int:
    """Return how long a replica has from being told to stop until it is killed."""
    return _DEREGISTER_SECONDS + drain_seconds + _EXIT_SECONDS
