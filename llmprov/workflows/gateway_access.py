"""What a client of the gateway needs: its address, and the certificate to verify it by."""

from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import Kind
from llmprov.errors import ClusterError
from llmprov.inventory import Inventory
from llmprov.manifests.gateway import GATEWAY, NAMESPACE
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.gateway_secrets import authority

GATEWAY_KIND = Kind("gateway.networking.k8s.io/v1", "Gateway")


def present(cluster: Cluster) -> bool:
    """Tell whether the cluster has a gateway."""
    served = GATEWAY_KIND.api_version in cluster.groups()
    return served and cluster.get(GATEWAY_KIND, GATEWAY, NAMESPACE) is not None


def base_url(inventory: Inventory) -> str:
    """Return the base URL for clients: the name of the settings, or else the first control plane's address."""
    settings = inventory.settings
    host = settings.gateway_host or inventory.first_control_plane.node_address
    return f"https://{host}:{settings.gateway_port}/v1"


def certificate_authority(inventory: Inventory) -> str:
    """Return the certificate of the gateway's own authority, PEM.

    Raises:
        ClusterError: there is no gateway, or the operator brought its certificate.
    """
    if inventory.settings.gateway_tls_certificate:
        raise ClusterError(
            "the gateway's certificate is the operator's own: llmprov has no authority for it",
            remedy="take that of whoever signed cluster_gateway_tls_certificate",
        )
    with open_cluster(inventory) as cluster:
        found = authority(cluster)
    if found is None:
        raise ClusterError("the cluster has no gateway", remedy="install it: llmprov install")
    return found.decode()
