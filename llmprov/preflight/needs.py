"""What an installation needs of its hosts: the numbers, and where they come from."""

from dataclasses import dataclass

GIB = 1024**3
MIB = 1024**2

SUPPORTED_SYSTEMS = {
    ("debian", "12"): "bookworm",
    ("debian", "13"): "trixie",
    ("ubuntu", "22.04"): "jammy",
    ("ubuntu", "24.04"): "noble",
}
"""By id and version as /etc/os-release has them: the release's code name, which is the suite of its packages."""
ARCHITECTURES = ("x86_64",)
"""What catalogs have artifacts for."""
OLDEST_KERNEL = (5, 13)
"""kube-proxy's nftables mode needs it."""
OLDEST_PYTHON = (3, 10)
"""That of Ubuntu 22.04, the oldest of the systems above."""
FEATURES = ("overlay", "br_netfilter", "nf_conntrack", "nf_tables")
CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids"})

CONTROL_PLANE_CORES = 2
CONTROL_PLANE_MEMORY = 1700 * MIB
"""Both are kubeadm's limits."""
WORKER_CORES = 1
WORKER_MEMORY = 2 * GIB
NODE_ROOM = 3 * GIB
"""Binaries, packages, the images of Kubernetes itself and logs, on every host."""
ETCD_ROOM = 2 * GIB
"""etcd keeps at most 2 GiB by default, and its write-ahead log beside it."""
UNPACKED = 2.0
"""Bytes of an unpacked image for each byte of it in the registry: compressed layers of engines measured 1.9."""

BASE_PATHS = ("/var/lib/llmprov", "/var/lib/kubelet", "/var/log")
CONTAINERD_PATH = "/var/lib/containerd"
ETCD_PATH = "/var/lib/etcd"

MOST_SKEW = 5.0
"""Seconds between a host's clock and the controller's: tokens, certificates and leases carry times."""
NOTED_SKEW = 1.0


@dataclass(frozen=True, slots=True)
class ImageNeed:
    """An image that workers will hold; `size` in bytes as the registry holds it, `unpacked` its growth on a host."""

    name: str
    size: int
    unpacked: float = UNPACKED

    @property
    def room(self) -> int:
        """Bytes on a host while it is pulled: the layers, and what is unpacked from them."""
        return int(self.size * (1 + self.unpacked))


@dataclass(frozen=True)
class Needs:
    """What depends on the bundle and the models; empty when there is no bundle yet.

    Attributes:
        bundle: bytes that the registry's host stores.
        suites: releases that the bundle has packages for; None without a bundle.
        engines: the engine images.
        models: the images with weights.
        registry_path: directory of the registry's blobs.
        push_port: the registry's port for pushes on its own host.
    """

    bundle: int = 0
    suites: frozenset[str] | None = None
    engines: tuple[ImageNeed, ...] = ()
    models: tuple[ImageNeed, ...] = ()
    registry_path: str = "/var/lib/llmprov-registry"
    push_port: int = 5001
