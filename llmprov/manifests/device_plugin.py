"""What tells the kubelet of GPUs: NVIDIA's device plugin with its exporter of metrics, or ours for simulated GPUs."""

from llmprov.manifests.render import Inputs, Manifest, render

NAMESPACE = "llmprov-gpu"
SIMULATOR = "gpu-simulator"
DEVICE_PLUGIN = "nvidia-device-plugin"
DCGM_EXPORTER = "dcgm-exporter"
DCGM_PORT = 9400
GPU_MODE_LABEL = "llmprov.io/gpu-mode"
GPU_RESOURCE = "nvidia.com/gpu"
# Where role nvidia_container_toolkit puts it.
_CDI_HOOK = "/usr/local/bin/nvidia-cdi-hook"


class _NamespaceInputs(Inputs):
    namespace: str


class _SimulatorInputs(Inputs):
    namespace: str
    name: str
    image: str
    resource: str
    mode_label: str


class _NvidiaInputs(Inputs):
    namespace: str
    device_plugin_image: str
    dcgm_exporter_image: str
    cdi_hook: str
    metrics_port: int
    mode_label: str


def simulator_objects(image: str, *, resource: str = GPU_RESOURCE) -> tuple[Manifest, ...]:
    """Return the objects of the device plugin for simulated GPUs.

    Args:
        image: reference by digest.
        resource: what the GPUs count as; another name lets it run beside a plugin that has the usual one.
    """
    inputs = _SimulatorInputs(
        namespace=NAMESPACE, name=SIMULATOR, image=image, resource=resource, mode_label=GPU_MODE_LABEL
    )
    return (*_namespace(), *render("gpu-simulator.yaml.j2", inputs))


def nvidia_objects(device_plugin_image: str, dcgm_exporter_image: str) -> tuple[Manifest, ...]:
    """Return the objects of NVIDIA's device plugin and of DCGM's exporter; images are references by digest."""
    inputs = _NvidiaInputs(
        namespace=NAMESPACE,
        device_plugin_image=device_plugin_image,
        dcgm_exporter_image=dcgm_exporter_image,
        cdi_hook=_CDI_HOOK,
        metrics_port=DCGM_PORT,
        mode_label=GPU_MODE_LABEL,
    )
    return (*_namespace(), *render("gpu-nvidia.yaml.j2", inputs))


def _namespace() -> tuple[Manifest, ...]:
    return render("gpu-namespace.yaml.j2", _NamespaceInputs(namespace=NAMESPACE))
