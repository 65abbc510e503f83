"""The pod network: flannel, routing between nodes by host routes or VXLAN, masquerading with nftables."""

import hashlib
import json
from collections.abc import Mapping
from typing import Literal

from llmprov.manifests.render import Inputs, Manifest, render

NAMESPACE = "kube-flannel"
NAME = "kube-flannel-ds"
POD_LABELS: Mapping[str, str] = {"app.kubernetes.io/name": "flannel"}


class NetworkInputs(Inputs):
    """What the pod network depends on."""

    image: str
    """Reference by digest."""
    pod_cidr: str
    backend: Literal["host-gw", "vxlan"]


class _TemplateInputs(Inputs):
    namespace: str
    name: str
    image: str
    net_conf: str
    net_conf_hash: str


def network_objects(inputs: NetworkInputs) -> tuple[Manifest, ...]:
    """Return the objects of the pod network."""
    conf = json.dumps(
        {"Network": inputs.pod_cidr, "EnableNFTables": True, "Backend": {"Type": inputs.backend}}, indent=2
    )
    # flanneld reads its configuration once: another hash makes the DaemonSet roll out anew.
    return render(
        "network.yaml.j2",
        _TemplateInputs(
            namespace=NAMESPACE,
            name=NAME,
            image=inputs.image,
            net_conf=conf,
            net_conf_hash=hashlib.sha256(conf.encode()).hexdigest()[:16],
        ),
    )
