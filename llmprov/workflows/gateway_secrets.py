"""What the gateway keeps secret in the cluster: its certificates, and the API keys."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import Field

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import SECRET, Header
from llmprov.errors import InventoryError
from llmprov.inventory import Inventory
from llmprov.manifests.gateway import CA_SECRET, KEYS_SECRET, NAMESPACE, TLS_SECRET
from llmprov.workflows.certificates import Pair, authority_outdated, check_own, issue, make_authority, outdated

_CERTIFICATE, _KEY = "tls.crt", "tls.key"


class _Secret(Header):
    data: Mapping[str, str] = Field(default_factory=dict, repr=False)


def read_secret(cluster: Cluster, name: str) -> Mapping[str, bytes] | None:
    """Return the contents of one of the gateway's Secrets; None when there is none."""
    found = cluster.get(SECRET, name, NAMESPACE)
    if found is None:
        return None
    return {key: b64decode(value) for key, value in _Secret.model_validate(found).data.items()}


def authority(cluster: Cluster) -> bytes | None:
    """Return the certificate of the gateway's own authority, PEM; None when the operator brought a certificate."""
    found = read_secret(cluster, CA_SECRET)
    return None if found is None else found[_CERTIFICATE]


def tls_secrets(cluster: Cluster, inventory: Inventory) -> tuple[Object, ...]:
    """Return the Secrets of the gateway's certificate: the operator's, what is there already, or what is made now."""
    now = datetime.now(UTC)
    settings = inventory.settings
    if settings.gateway_tls_certificate:
        return (_tls(TLS_SECRET, _own(inventory, now)),)
    above = _stored(cluster, CA_SECRET)
    if above is None or authority_outdated(above, now):
        above = make_authority(settings.name, now)
    pair = _stored(cluster, TLS_SECRET)
    names = server_names(inventory)
    if pair is None or outdated(pair, above, names, now):
        pair = issue(above, names, now)
    return (_tls(CA_SECRET, above), _tls(TLS_SECRET, pair))


def keys_secret() -> Object:
    """Return the Secret of the API keys without keys: who creates and revokes them owns those."""
    return _secret(KEYS_SECRET, "Opaque", {})


def server_names(inventory: Inventory) -> tuple[str, ...]:
    """Return what clients may call the gateway: every node's addresses and name, and the DNS name of the settings."""
    names = [inventory.settings.gateway_host] if inventory.settings.gateway_host else []
    for host in inventory.hosts:
        names += [host.name, host.address, host.node_address]
    return tuple(dict.fromkeys(names))


def _own(inventory: Inventory, now: datetime) -> Pair:
    settings = inventory.settings
    paths = [inventory.directory / name for name in (settings.gateway_tls_certificate, settings.gateway_tls_key)]
    try:
        pair = Pair(*(path.read_bytes() for path in paths))
    except OSError as error:
        raise InventoryError(
            f"the gateway's certificate cannot be read: {error}",
            remedy="correct cluster_gateway_tls_certificate and _key",
        ) from error
    check_own(pair, str(paths[0]), now)
    return pair


def _stored(cluster: Cluster, name: str) -> Pair | None:
    found = read_secret(cluster, name)
    if found is None or not {_CERTIFICATE, _KEY} <= found.keys():
        return None
    return Pair(found[_CERTIFICATE], found[_KEY])


def _tls(name: str, pair: Pair) -> Object:
    return _secret(name, "kubernetes.io/tls", {_CERTIFICATE: pair.certificate, _KEY: pair.key})


def _secret(name: str, kind: str, data: Mapping[str, bytes]) -> Object:
    encoded = {key: b64encode(value).decode() for key, value in data.items()}
    secret: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "type": kind,
    }
    return {**secret, "data": encoded} if encoded else secret
