"""Lookup plugin: artifacts of the bundle, with the address at which hosts get them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: llmprov_bundle
short_description: Look up artifacts in the bundle's lock file
description:
  - Reads C(bundle.lock.json) on the controller.
  - Returns one dictionary for each term, in order.
options:
  _terms:
    description: Names of artifacts. For O(kind=deb) the code name of a Debian or Ubuntu release; all its packages are
      returned. For O(kind=registries) and O(kind=files) none.
    type: list
    elements: str
  kind:
    description: What to look for. V(registries) returns the registry hosts named by the bundle's images. V(files)
      returns the one OCI artifact that all files and packages are layers of.
    type: str
    choices: [file, files, image, deb, registries]
    default: file
  directory:
    description: The bundle's directory.
    type: path
    required: true
  registry:
    description: HOST:PORT of the cluster's registry; needed for C(fetch).
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the kubelet's digest
  ansible.builtin.debug:
    msg: "{{ (query('llmprov_bundle', 'kubelet', directory=cluster_bundle_dir) | first).sha256 }}"
"""

RETURN = r"""
_raw:
  description:
    - The artifact as in the lock file. Files and packages gain C(checksum), C(path) (the blob on the controller) and
      C(fetch) (what M(bundle_files) and M(offline_packages) take).
    - Images gain C(digest), C(pinned) (reference by digest), C(fetch) (name and address of the manifest) and, split
      from C(ref), C(repository) and C(tag).
  type: list
  elements: dict
"""

_LOCK = "bundle.lock.json"
_INDEX = "index.json"
_REFERENCE = "org.opencontainers.image.ref.name"
_FILES_REPOSITORY = "llmprov/files"


@functools.lru_cache(maxsize=4)
def _artifacts(directory: Path, modified_ns: int) -> tuple[dict[str, Any], ...]:  # noqa: ARG001 - a key
    return tuple(json.loads((directory / _LOCK).read_text(encoding="utf-8"))["artifacts"])


def load(directory: Path) -> tuple[dict[str, Any], ...]:
    """Return the artifacts of a bundle."""
    lock = directory / _LOCK
    try:
        return _artifacts(directory, lock.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise AnsibleLookupError(
            f"there is no bundle at {directory} ({_LOCK} is missing); "
            "run `llmprov bundle build` or set cluster_bundle_dir"
        ) from error
    except (json.JSONDecodeError, KeyError) as error:
        raise AnsibleLookupError(f"{lock} cannot be read ({error}); run `llmprov bundle verify`") from error


def describe_blob(artifact: dict[str, Any], directory: Path, registry: str) -> dict[str, Any]:
    """Add where a file or package is on the controller, and what a host needs to fetch it."""
    digest = artifact["sha256"]
    url = f"http://{registry}/v2/{_FILES_REPOSITORY}/blobs/sha256:{digest}"
    names = ("package", "version") if artifact["kind"] == "deb" else ("name",)
    return {
        **artifact,
        "checksum": f"sha256:{digest}",
        "path": str(directory / "blobs" / "sha256" / digest),
        "fetch": {**{name: artifact[name] for name in names}, "url": url, "sha256": digest},
    }


def describe_image(artifact: dict[str, Any], registry: str) -> dict[str, Any]:
    """Split an image's reference, and add the one by digest and what a host needs to ask for it."""
    repository, _, tag = artifact["ref"].rpartition(":")
    digest = f"sha256:{artifact['sha256']}"
    return {
        **artifact,
        "repository": repository,
        "tag": tag,
        "digest": digest,
        "pinned": f"{repository}@{digest}",
        "fetch": _manifest(artifact["name"], repository, digest, registry),
    }


def describe_files(directory: Path, registry: str) -> dict[str, Any]:
    """Return name, digest and address of the artifact of all files and packages."""
    manifests = json.loads((directory / _INDEX).read_text(encoding="utf-8"))["manifests"]
    for manifest in manifests:
        repository, _, _tag = manifest.get("annotations", {}).get(_REFERENCE, "").rpartition(":")
        if repository == _FILES_REPOSITORY:
            digest = manifest["digest"]
            return {"digest": digest, "fetch": _manifest("the bundle's files", repository, digest, registry)}
    raise AnsibleLookupError(f"{directory / _INDEX} has no {_FILES_REPOSITORY}; run `llmprov bundle build` again")


def _manifest(name: str, repository: str, digest: str, registry: str) -> dict[str, str]:
    return {"name": name, "url": f"http://{registry}/v2/{repository}/manifests/{digest}"}


def find(artifacts: tuple[dict[str, Any], ...], kind: str, name: str) -> dict[str, Any]:
    """Return the one artifact of a kind and name."""
    for artifact in artifacts:
        if artifact["kind"] == kind and artifact["name"] == name:
            return artifact
    known = ", ".join(sorted(a["name"] for a in artifacts if a["kind"] == kind)) or "none"
    raise AnsibleLookupError(f"the bundle has no {kind} {name} (it has: {known}); run `llmprov bundle build` again")


class LookupModule(LookupBase):
    """Ansible's entry point."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:  # noqa: ANN401
        """Return one value for each term."""
        self.set_options(var_options=variables, direct=kwargs)
        kind, registry = str(self.get_option("kind")), str(self.get_option("registry"))
        directory = Path(str(self.get_option("directory")))
        artifacts = load(directory)
        if kind == "registries":
            return sorted({a["ref"].partition("/")[0] for a in artifacts if a["kind"] == "image"})
        if kind == "files":
            return [describe_files(directory, registry)]
        if kind == "deb":
            return [
                describe_blob(a, directory, registry)
                for a in artifacts
                if a["kind"] == "deb" and a.get("suite") in terms
            ]
        found = [find(artifacts, kind, str(term)) for term in terms]
        if kind == "image":
            return [describe_image(artifact, registry) for artifact in found]
        return [describe_blob(artifact, directory, registry) for artifact in found]
