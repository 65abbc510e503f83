"""API keys of the gateway: made, listed, shown, limited and revoked; the proxies learn of it within seconds."""

import difflib
import re
import secrets
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import SECRET, Header
from llmprov.errors import ClusterError
from llmprov.inventory import Inventory
from llmprov.manifests.gateway import KEYS_SECRET, NAMESPACE
from llmprov.states import ApiKey as ApiKey  # noqa: PLC0414 - part of this module's interface
from llmprov.workflows.cluster import open_cluster
from llmprov.workflows.gateway_limits import annotation, key_models, public_names, publish, require_limits
from llmprov.workflows.gateway_secrets import read_secret

DEFAULT_KEY = "default"
_PREFIX = "sk-llmprov-"
_BYTES = 32
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_CREATED = "created.llmprov.io/"
_FIRST = "llmprov.io/first-key"


def create(inventory: Inventory, name: str, models: Sequence[str] = ()) -> ApiKey:
    """Make a key.

    Args:
        inventory: of the cluster.
        name: who the key is for.
        models: of the inventory; the key may use only these. Without any it may use all.

    Raises:
        ClusterError: there is one of that name, the name cannot be one, there is no such model, or no gateway.
    """
    limit = public_names(inventory, models) or None
    if not _NAME.fullmatch(name):
        raise ClusterError(
            f"{name!r} cannot be the name of a key",
            remedy="use at most 63 lower-case letters, digits, dots, dashes and underscores, such as team-a",
        )
    with _opened(inventory) as (cluster, known):
        if name in known:
            raise ClusterError(
                f"there is a key {name!r} already", remedy=f"llmprov key show {name}, or choose another name"
            )
        if limit is not None:
            require_limits(cluster)
        return add_key(cluster, name, limit)


def allow(inventory: Inventory, name: str, models: Sequence[str] | None) -> ApiKey:
    """Change which models a key may use: only these, or all for None. Answers that are on their way end.

    Raises:
        ClusterError: there is no such key, no such model, or no gateway.
    """
    limit = None if models is None else public_names(inventory, models)
    with _opened(inventory) as (cluster, known):
        _require(name, known)
        require_limits(cluster)
        _merge(cluster, {"metadata": {"annotations": annotation(name, limit)}})
        return ApiKey(name, _created(cluster).get(name, ""), models=limit)


def list_keys(inventory: Inventory) -> tuple[ApiKey, ...]:
    """Return all keys by name, without the keys themselves."""
    with _opened(inventory) as (cluster, known):
        created, models = _created(cluster), key_models(cluster)
        # A key that came between the two questions is listed the next time.
        return tuple(
            ApiKey(name, created.get(name, ""), models=models[name]) for name in sorted(known.keys() & models.keys())
        )


def show(inventory: Inventory, name: str) -> ApiKey:
    """Return one key, with the key itself."""
    with _opened(inventory) as (cluster, known):
        _require(name, known)
        models = key_models(cluster).get(name, ())
        return ApiKey(name, _created(cluster).get(name, ""), known[name].decode(), models)


def revoke(inventory: Inventory, name: str) -> None:
    """Delete a key: requests with it get 401 within seconds; answers that are on their way end."""
    with _opened(inventory) as (cluster, known):
        _require(name, known)
        _patch(cluster, name, None, None, None)


def add_key(cluster: Cluster, name: str, models: tuple[str, ...] | None = None) -> ApiKey:
    """Make a key, for these models or all, in a cluster whose Secret of keys is there."""
    key = _PREFIX + secrets.token_urlsafe(_BYTES)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    _patch(cluster, name, b64encode(key.encode()).decode(), now, models)
    return ApiKey(name, now, key, models)


def ensure_first_key(cluster: Cluster) -> None:
    """Make the default key once: when it was revoked it stays so, after an interrupted run it is made now.

    And let the proxies know of keys that came, changed or went while the gateway was applied.
    """
    publish(cluster)
    secret = cluster.get(SECRET, KEYS_SECRET, NAMESPACE)
    annotations = Header.model_validate(secret).metadata.annotations
    if _FIRST in annotations:
        return
    if not _known(cluster):
        add_key(cluster, DEFAULT_KEY)
    cluster.merge(SECRET, KEYS_SECRET, {"metadata": {"annotations": {_FIRST: "made"}}}, namespace=NAMESPACE)


def any_key(cluster: Cluster) -> str:
    """Return a key that works: one that may use every model, the default one, or else the first.

    Raises:
        ClusterError: all keys were revoked.
    """
    known, models = _known(cluster), key_models(cluster)
    if not known:
        raise ClusterError("the gateway has no API key", remedy="make one: llmprov key create NAME")
    best = min(known, key=lambda name: (models.get(name, ()) is not None, name != DEFAULT_KEY, name))
    return known[best].decode()


@contextmanager
def _opened(inventory: Inventory) -> Iterator[tuple[Cluster, Mapping[str, bytes]]]:
    with open_cluster(inventory) as cluster:
        yield cluster, _known(cluster)


def _known(cluster: Cluster) -> Mapping[str, bytes]:
    found = read_secret(cluster, KEYS_SECRET)
    if found is None:
        raise ClusterError("the cluster has no gateway", remedy="install it: llmprov install")
    return found


def _require(name: str, known: Mapping[str, bytes]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise ClusterError(
            f"there is no key {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
            remedy="llmprov key list",
        )


def _created(cluster: Cluster) -> Mapping[str, str]:
    annotations = Header.model_validate(cluster.get(SECRET, KEYS_SECRET, NAMESPACE)).metadata.annotations
    return {key.removeprefix(_CREATED): value for key, value in annotations.items() if key.startswith(_CREATED)}


def _patch(cluster: Cluster, name: str, key: str | None, created: str | None, models: tuple[str, ...] | None) -> None:
    annotations = {_CREATED + name: created, **annotation(name, models)}
    _merge(cluster, {"data": {name: key}, "metadata": {"annotations": annotations}})


def _merge(cluster: Cluster, patch: Object) -> None:
    """Change the Secret, then let the proxies know: what they are not told of a key, it may not do."""
    cluster.merge(SECRET, KEYS_SECRET, patch, namespace=NAMESPACE)
    publish(cluster)
