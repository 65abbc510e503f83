"""What must hold between models, and between models and the cluster."""

from collections.abc import Iterator, Sequence

from llmprov.inventory.findings import MASK, Finding, shown_value
from llmprov.inventory.model_files import ModelFile
from llmprov.inventory.values import GPU_WORKERS, ClusterSettings, Host

_OWN_ARGUMENTS = {
    "--model": "source",
    "--served-model-name": "served_name",
    "--max-model-len": "max_model_len",
    "--tensor-parallel-size": "resources.gpus",
    "--host": "",
    "--port": "",
    "--shutdown-timeout": "timeouts.drain_seconds",
}
"""vLLM arguments that llmprov sets, and the key of the model file that decides them."""


def check_models(
    models: Sequence[ModelFile], settings: ClusterSettings | None, hosts: Sequence[Host]
) -> Iterator[Finding]:
    """Check that models do not clash and that the cluster can hold them."""
    yield from _check_names(models)
    for model in models:
        yield from _check_engine(model)
    gpu_workers = [host for host in hosts if GPU_WORKERS in host.groups]
    for model in models:
        if model.spec.resources.gpus and model.spec.replicas.max and not gpu_workers:
            problem = f"model {model.spec.name} needs GPUs, and group gpu_workers has no host"
            yield Finding(problem, "name the hosts that have GPUs in gpu_workers", model.place("resources"))
    if settings and settings.gpu_mode == "simulated" and gpu_workers:
        yield from _check_simulated(models, settings.simulated_gpus, len(gpu_workers))


def _check_names(models: Sequence[ModelFile]) -> Iterator[Finding]:
    names: dict[str, ModelFile] = {}
    served: dict[str, ModelFile] = {}
    for model in models:
        spec = model.spec
        if other := names.get(spec.name):
            problem = f"another model has this name: {other.document.file.name}"
            yield Finding(problem, "give each model its own name", model.place("name"), "name", spec.name)
        elif other := served.get(spec.public_name):
            key = "served_name" if spec.served_name else "name"
            problem = f"the model of {other.document.file.name} is served under this name too"
            yield Finding(problem, "give each model its own served_name", model.place(key), key, spec.public_name)
        names.setdefault(spec.name, model)
        served.setdefault(spec.public_name, model)


def _check_engine(model: ModelFile) -> Iterator[Finding]:
    for index, argument in enumerate(model.spec.engine.args):
        name = argument.split("=", 1)[0].replace("_", "-")
        if name in _OWN_ARGUMENTS:
            key = _OWN_ARGUMENTS[name]
            remedy = f"remove it and set {key} instead" if key else "remove it"
            place = model.place("engine", "args", index)
            yield Finding("llmprov sets this argument itself", remedy, place, f"engine.args.{index}", argument)
    for name, value in model.spec.engine.env.items():
        if shown_value(name, value) == MASK:
            yield Finding(
                "looks like a secret, and everyone who may read the Deployment can read it",
                "leave it out: models come from the cluster's registry, the engine needs no token",
                model.place("engine", "env", name),
                f"engine.env.{name}",
                value,
                warning=True,
            )


def _check_simulated(models: Sequence[ModelFile], per_host: int, hosts: int) -> Iterator[Finding]:
    wanted = 0
    for model in models:
        gpus = model.spec.resources.gpus
        wanted += gpus * model.spec.replicas.max
        if gpus > per_host and model.spec.replicas.max:
            yield Finding(
                f"one replica needs more GPUs than any host has ({per_host})",
                "lower it, or raise cluster_simulated_gpus",
                model.place("resources", "gpus"),
                "resources.gpus",
                gpus,
            )
    if wanted > per_host * hosts:
        yield Finding(
            f"all models need {wanted} GPUs, the cluster has {per_host * hosts}: some replicas will stay pending",
            "lower replicas or gpus, or add hosts",
            key="models",
            warning=True,
        )
