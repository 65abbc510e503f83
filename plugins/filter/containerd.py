"""Filter `containerd_hosts_file`: send one registry host's images to the cluster's registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = "/etc/containerd/certs.d"


def containerd_hosts_file(registry_host: str, mirror: str) -> dict[str, str]:
    """Return path and content of the hosts.toml of a registry host.

    Args:
        registry_host: as in an image's reference, such as `registry.k8s.io`.
        mirror: HOST:PORT of the cluster's registry, where images lie under their full name.
    """
    address = f"http://{mirror}/v2/{registry_host}"
    lines = (
        "# Managed by llmprov, role runtime. The cluster's registry is the only source of images.",
        f"server = {json.dumps(address)}",
        'capabilities = ["pull", "resolve"]',
        "override_path = true",
    )
    return {"path": f"{_DIRECTORY}/{registry_host}/hosts.toml", "content": "\n".join(lines) + "\n"}


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[[str, str], dict[str, str]]]:
        """Return the filters by name."""
        return {"containerd_hosts_file": containerd_hosts_file}
