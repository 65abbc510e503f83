"""Finds the pods in objects that make some, and changes them."""

from collections.abc import Callable, Iterable

from llmprov.manifests.render import Manifest
from llmprov.manifests.tree import child, listed, replaced, texts

CONTROL_PLANE_TOLERATION: Manifest = {
    "key": "node-role.kubernetes.io/control-plane",
    "operator": "Exists",
    "effect": "NoSchedule",
}
_TEMPLATE = ("spec", "template", "spec")
_PATHS: dict[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", *_TEMPLATE),
    **dict.fromkeys(("DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet"), _TEMPLATE),
}
_CONTAINER_LISTS = ("initContainers", "containers")


def change_pods(item: Manifest, change: Callable[[Manifest], Manifest]) -> Manifest:
    """Change the pod specification of an object; one that makes no pods is returned as it is."""
    path = _PATHS.get(str(item["kind"]))
    return replaced(item, path, change(pod_spec(item))) if path else item


def change_containers(item: Manifest, change: Callable[[Manifest], Manifest]) -> Manifest:
    """Change every container of an object, those that run first included."""
    return change_pods(item, lambda spec: in_containers(spec, change))


def in_containers(spec: Manifest, change: Callable[[Manifest], Manifest]) -> Manifest:
    """Change every container of a pod specification."""
    return spec | {key: [change(box) for box in listed(spec[key])] for key in _CONTAINER_LISTS if key in spec}


def pod_spec(item: Manifest) -> Manifest:
    """The pod specification of an object; empty when it makes no pods."""
    found = item
    for key in _PATHS.get(str(item["kind"]), ("",)):
        found = child(found, key)
    return found


def containers(items: Iterable[Manifest]) -> list[Manifest]:
    """All containers of the objects."""
    specs = [pod_spec(item) for item in items]
    return [box for spec in specs for key in _CONTAINER_LISTS for box in listed(spec.get(key))]


def image_repository(container: Manifest) -> str:
    """The image of a container without tag and digest: `docker.io/envoyproxy/gateway`."""
    repository = str(container.get("image", "")).partition("@")[0]
    head, colon, tail = repository.rpartition(":")
    return head if colon and "/" not in tail else repository


def restricted(spec: Manifest, user: int | None) -> Manifest:
    """A pod specification that Pod Security's level `restricted` admits, and whose root file systems are read-only.

    Args:
        spec: of the pod.
        user: numeric user and group; None leaves that to the image.
    """
    runs_as: Manifest = {} if user is None else {"runAsUser": user, "runAsGroup": user}
    pod = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **runs_as}
    own: Manifest = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        **runs_as,
    }
    changed = in_containers(spec, lambda box: box | {"securityContext": child(box, "securityContext") | own})
    return changed | {"securityContext": child(spec, "securityContext") | pod}


def preferring_no_gpus(spec: Manifest, gpu_label: str) -> Manifest:
    """A pod specification that prefers nodes without a label, and may run on the control plane."""
    preference = {"weight": 100, "preference": {"matchExpressions": [{"key": gpu_label, "operator": "DoesNotExist"}]}}
    affinity = child(spec, "affinity")
    node = child(affinity, "nodeAffinity")
    key = "preferredDuringSchedulingIgnoredDuringExecution"
    others = [item for item in listed(spec.get("tolerations")) if item != CONTROL_PLANE_TOLERATION]
    return spec | {
        "affinity": affinity | {"nodeAffinity": node | {key: [*listed(node.get(key)), preference]}},
        "tolerations": [*others, CONTROL_PLANE_TOLERATION],
    }


def with_flags(container: Manifest, flags: tuple[str, ...]) -> Manifest:
    """A container with these arguments; `--flag=value` takes the place of the same flag."""
    names = {flag.partition("=")[0] for flag in flags}
    kept = [text for text in texts(container.get("args")) if text.partition("=")[0] not in names]
    return container | {"args": [*kept, *flags]}
