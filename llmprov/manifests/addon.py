"""Third-party add-ons: multi-document YAML out of the bundle, and pure changes that make it fit this cluster.

Every function takes objects and returns new ones; what it does not change is the same value. A change that finds
nothing to change is an error: another release of the add-on has renamed something, and a pod would run unchanged.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

import yaml

from llmprov.errors import BundleError
from llmprov.manifests.podspec import (
    change_containers,
    change_pods,
    containers,
    image_repository,
    preferring_no_gpus,
    restricted,
    with_flags,
)
from llmprov.manifests.render import Manifest
from llmprov.manifests.tree import child, listed, merged, moved
from llmprov.stages import YAML_LOADER

GPU_NODE_LABEL = "llmprov.io/gpu-mode"
"""The label of nodes with GPUs, which add-ons leave to engines where they can."""

_REMEDY = "this llmprov was made for the add-on's version in its own catalog: llmprov bundle build"

type Objects = tuple[Manifest, ...]


def load(path: Path) -> Objects:
    """Read the objects of a file; a List counts as its items.

    Raises:
        BundleError: the file is not YAML, or a document in it is not a Kubernetes object.
    """
    try:
        documents = list(yaml.load_all(path.read_bytes(), Loader=YAML_LOADER))
    except yaml.YAMLError as error:
        raise BundleError(f"{path} is not YAML: {error}", remedy="llmprov bundle verify") from error
    return tuple(item for document in documents if document is not None for item in _objects(document, path))


def find(objects: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """Return the object of a kind and name."""
    alike = {_name(item): item for item in objects if item["kind"] == kind}
    if name not in alike:
        have = ", ".join(sorted(alike)) or "none"
        raise BundleError(f"the add-on has no {kind} {name}", remedy=_REMEDY, details=(f"{kind} it has: {have}",))
    return alike[name]


def without(objects: Iterable[Manifest], kind: str, *names: str) -> Objects:
    """Leave out the objects of a kind with these names, or all of the kind when no name is given."""
    known = tuple(objects)
    if not names:
        return tuple(item for item in known if item["kind"] != kind)
    doomed = [find(known, kind, name) for name in names]
    return tuple(item for item in known if not any(item is one for one in doomed))


def without_crds(objects: Iterable[Manifest], *groups: str) -> Objects:
    """Leave out the CustomResourceDefinitions of these API groups, which another set brings."""
    return tuple(
        item
        for item in objects
        if item["kind"] != "CustomResourceDefinition" or child(item, "spec").get("group") not in groups
    )


def with_images(objects: Iterable[Manifest], images: Mapping[str, str]) -> Objects:
    """Replace every container's image by a pinned reference, since hosts can get no other.

    Args:
        objects: of the add-on.
        images: pinned reference by the repository in the add-on, whatever its tag: `docker.io/envoyproxy/gateway`.

    Raises:
        BundleError: a container's image has no replacement, or a replacement has no container.
    """
    known = tuple(objects)
    users = {image_repository(box): str(box.get("name")) for box in containers(known)}
    unpinned = sorted(set(users) - set(images))
    unused = sorted(set(images) - set(users))
    findings = [f"nothing replaces {repository} of container {users[repository]}" for repository in unpinned]
    findings += [f"no container has an image {repository}" for repository in unused]
    if findings:
        raise BundleError("the add-on's images are not the expected ones", remedy=_REMEDY, details=tuple(findings))

    def pinned(box: Manifest) -> Manifest:
        return box | {"image": images[image_repository(box)], "imagePullPolicy": "IfNotPresent"}

    return tuple(change_containers(item, pinned) for item in known)


def with_resources(
    objects: Iterable[Manifest], container: str, *, requests: Mapping[str, str], limits: Mapping[str, str]
) -> Objects:
    """Set what containers of this name ask for and may use; whole, so that nothing of the add-on's stays behind."""
    resources: Manifest = {"resources": {"requests": dict(requests), "limits": dict(limits)}}
    return _in_named(objects, container, lambda box: box | resources)


def with_arguments(objects: Iterable[Manifest], container: str, *arguments: str) -> Objects:
    """Add arguments to containers of this name; `--flag=value` takes the place of the same flag."""
    return _in_named(objects, container, lambda box: with_flags(box, arguments))


def hardened(objects: Iterable[Manifest], *, user: int | None = None) -> Objects:
    """Run pods as Pod Security's level `restricted` demands, on read-only root file systems.

    Args:
        objects: of the add-on.
        user: numeric user and group, for images that name none.
    """
    return tuple(change_pods(item, lambda spec: restricted(spec, user)) for item in objects)


def placed(objects: Iterable[Manifest]) -> Objects:
    """Prefer nodes without GPUs, and tolerate the control plane: small clusters have no other such node."""
    return tuple(change_pods(item, lambda spec: preferring_no_gpus(spec, GPU_NODE_LABEL)) for item in objects)


def in_namespace(objects: Iterable[Manifest], namespace: str, *, was: str) -> Objects:
    """Move an add-on to another namespace: its objects, and what in others names its accounts and services.

    Objects in further namespaces (a RoleBinding in kube-system) stay there. The add-on's own `Namespace` is left out:
    a station makes its namespace itself, with its labels.
    """
    return tuple(
        item if item["kind"] == "CustomResourceDefinition" else cast("Manifest", moved(item, namespace, was))
        for item in objects
        if (item["kind"], _name(item)) != ("Namespace", was)
    )


def patched(objects: Iterable[Manifest], kind: str, name: str, patch: Mapping[str, object]) -> Objects:
    """Merge a patch into one object as RFC 7386 says: mappings are merged, None deletes, all else replaces."""
    known = tuple(objects)
    target = find(known, kind, name)
    return tuple(merged(item, patch) if item is target else item for item in known)


def _in_named(objects: Iterable[Manifest], name: str, change: Callable[[Manifest], Manifest]) -> Objects:
    known = tuple(objects)
    names = {str(box.get("name")) for box in containers(known)}
    if name not in names:
        have = ", ".join(sorted(names)) or "none"
        raise BundleError(f"the add-on has no container {name}", remedy=_REMEDY, details=(f"it has: {have}",))
    return tuple(change_containers(item, lambda box: change(box) if box.get("name") == name else box) for item in known)


def _name(item: Manifest) -> str:
    return str(child(item, "metadata").get("name", ""))


def _objects(document: object, path: Path) -> list[Manifest]:
    if not isinstance(document, dict) or not {"apiVersion", "kind"} <= set(document):
        raise BundleError(
            f"{path} holds something that is not a Kubernetes object: {str(document)[:60]!r}",
            remedy="llmprov bundle verify",
        )
    if document["kind"] == "List":
        return [item for entry in listed(document.get("items")) for item in _objects(entry, path)]
    return [document]
