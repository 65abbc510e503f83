"""Rules about GPUs: that they are where the inventory says, of a known model, and free for NVIDIA's driver."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import yaml

from llmprov.inventory import Host
from llmprov.paths import content_root
from llmprov.preflight.context import Context, error, warning
from llmprov.preflight.facts import HostFacts
from llmprov.preflight.findings import Finding


def check_gpus(host: Host, facts: HostFacts, context: Context) -> Iterator[Finding]:
    """Check that GPUs are where the inventory says, and free for the driver."""
    inventory = context.inventory
    if inventory.settings.gpu_mode == "simulated":
        if facts.gpus:
            problem = f"has {len(facts.gpus)} NVIDIA GPU(s), but cluster_gpu_mode is simulated: they will not be used"
            yield warning(host, "gpu", problem, "set cluster_gpu_mode: real in group_vars/all.yml")
        return
    if host not in inventory.gpu_workers:
        if facts.gpus:
            problem = f"has {len(facts.gpus)} NVIDIA GPU(s), but is not in gpu_workers: they will not be used"
            yield warning(host, "gpu", problem, "add it to gpu_workers")
        return
    if not facts.gpus:
        yield error(
            host,
            "gpu",
            "is in gpu_workers, but no NVIDIA GPU is on its PCI bus",
            "look at `lspci -d 10de:`, seat the cards, or take the host out of gpu_workers",
        )
    yield from _check_models(host, facts)
    yield from _check_drivers(host, facts)


def check_model_gpus(context: Context) -> Iterator[Finding]:
    """Check that some host has as many GPUs as one replica of each model needs."""
    inventory = context.inventory
    answered = [host for host in inventory.gpu_workers if host.name in context.facts]
    if inventory.settings.gpu_mode != "real" or len(answered) < len(inventory.gpu_workers) or not answered:
        return
    most = max(len(context.facts[host.name].gpus) for host in answered)
    for model in inventory.models:
        if model.replicas.max and model.resources.gpus > most:
            problem = f"a replica of model {model.name} needs {model.resources.gpus} GPUs; the largest host has {most}"
            yield error("", "gpu", problem, "lower resources.gpus of the model")


def _check_models(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Refuse what the role would refuse, before anything is done on any host."""
    further = host.variables.get("nvidia_driver_further_models")
    known = {**_known_models(), **(further if isinstance(further, Mapping) else {})}
    unknown = sorted({gpu.device for gpu in facts.gpus} - known.keys())
    if unknown:
        names = ", ".join(f"{device} {_known_models()[device]}" for device in sorted(_known_models()))
        yield error(
            host,
            "gpu",
            f"GPU model {', '.join(unknown)} is unknown; known are {names}",
            "if the driver supports it, describe it in nvidia_driver_further_models (docs/gpu.md)",
        )


@lru_cache(maxsize=1)
def _known_models() -> Mapping[str, str]:
    """Return the names of the models that role nvidia_driver knows, by PCI device id."""
    file = content_root() / "roles" / "nvidia_driver" / "vars" / "main.yml"
    models = yaml.safe_load(file.read_text(encoding="utf-8"))["__nvidia_driver_models"]
    return {str(device): str(model["name"]) for device, model in models.items()}


def _check_drivers(host: Host, facts: HostFacts) -> Iterator[Finding]:
    held = {gpu.driver for gpu in facts.gpus if gpu.driver}
    if "nouveau" in held:
        problem = "nouveau holds the GPU: NVIDIA's driver cannot load beside it"
        if host.variables.get("nvidia_driver_install") is False or host.variables.get("nvidia_driver_reboot") is False:
            by_hand = "echo blacklist nouveau > /etc/modprobe.d/nouveau.conf; update-initramfs -u; reboot"
            yield error(host, "gpu", problem, by_hand)
        else:
            yield warning(host, "gpu", problem, "nothing: the install keeps nouveau out and reboots this host")
    if others := held - {"nouveau", "nvidia"}:
        names = ", ".join(sorted(others))
        yield error(
            host,
            "gpu",
            f"GPUs are bound to {names}, not to NVIDIA's driver",
            "unbind them (driverctl, vfio) and reboot",
        )
    remains = facts.remains
    if remains.driver_packages and not remains.driver_version:
        yield warning(
            host,
            "gpu",
            f"NVIDIA packages are installed, but the driver is not loaded: {', '.join(remains.driver_packages)}",
            "reboot, or remove them: apt purge 'nvidia-*' 'libnvidia-*'",
        )
