"""Which models an API key may use: annotations of the keys' Secret say it, the proxies' routing script is told.

A key without an annotation may use every model; one whose annotation cannot be read, none.
"""

import difflib
import json
from collections.abc import Mapping, Sequence

from pydantic import Field, TypeAdapter, ValidationError

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.compare import APPLIED, digest
from llmprov.cluster.objects import SECRET, Header, Kind
from llmprov.errors import ClusterError
from llmprov.inventory import Inventory
from llmprov.manifests.gateway import GATEWAY, KEYS_SECRET, NAMESPACE, KeyModels, routing_context

POLICY = Kind("gateway.envoyproxy.io/v1alpha1", "EnvoyExtensionPolicy")
_MODELS = "models.llmprov.io/"
_CONTEXT = "filterContext"
_NAMES = TypeAdapter(tuple[str, ...])
# Envoy Gateway writes the policy's status, and two verbs may run at a time.
_ATTEMPTS = 10


class _Keys(Header):
    data: Mapping[str, str] = Field(default_factory=dict, repr=False)


class _PolicySpec(Header):
    spec: Mapping[str, object]


def key_models(cluster: Cluster) -> KeyModels:
    """Return every API key of the cluster and the models that it may use; empty before there is a gateway."""
    found = cluster.get(SECRET, KEYS_SECRET, NAMESPACE)
    if found is None:
        return {}
    keys = _Keys.model_validate(found)
    return {name: _read(keys.metadata.annotations.get(_MODELS + name)) for name in sorted(keys.data)}


def annotation(name: str, models: Sequence[str] | None) -> dict[str, str | None]:
    """Return the annotation of a key that may use these models, for a merge patch; None: all models."""
    return {_MODELS + name: None if models is None else json.dumps(sorted(set(models)))}


def public_names(inventory: Inventory, models: Sequence[str]) -> tuple[str, ...]:
    """Return the names by which clients ask for models; each is given by that name, or by that of its file.

    Raises:
        ClusterError: the inventory has no such model.
    """
    known = {name: model.public_name for model in inventory.models for name in (model.name, model.public_name)}
    for name in models:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ClusterError(
                f"the inventory has no model {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
                remedy=f"it has: {', '.join(sorted(set(known.values()))) or 'none'}",
            )
    return tuple(sorted({known[name] for name in models}))


def require_limits(cluster: Cluster) -> None:
    """Check that the cluster's gateway holds keys to their models.

    Raises:
        ClusterError: it was installed by a release that did not.
    """
    if not _limits(_policy(cluster)):
        raise ClusterError(
            "the cluster's gateway cannot hold keys to models yet", remedy="bring it up to date: llmprov install"
        )


def publish(cluster: Cluster) -> None:
    """Tell the proxies what the Secret says; a gateway of a release that knows no limits is left as it is.

    No connection ends by it. Whoever comes second, of two at a time, reads what both have written.

    Raises:
        ClusterError: the API refuses the change.
    """
    for attempt in range(_ATTEMPTS):
        policy = _policy(cluster)
        if policy is None or not _limits(policy):
            return
        context = routing_context(key_models(cluster))
        if all(script.get(_CONTEXT) == context for script in _scripts(policy)):
            return
        try:
            cluster.apply(_with_context(policy, context))
        except ClusterError:
            after = _policy(cluster)
            unchanged = after is not None and after.metadata.resource_version == policy.metadata.resource_version
            if unchanged or attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _read(annotated: str | None) -> tuple[str, ...] | None:
    if annotated is None:
        return None
    try:
        return _NAMES.validate_json(annotated)
    except ValidationError:
        return ()


def _policy(cluster: Cluster) -> _PolicySpec | None:
    found = cluster.get(POLICY, GATEWAY, NAMESPACE)
    return None if found is None else _PolicySpec.model_validate(found)


def _scripts(policy: _PolicySpec) -> list[Mapping[str, object]]:
    scripts = policy.spec.get("lua")
    return scripts if isinstance(scripts, list) else []


def _limits(policy: _PolicySpec | None) -> bool:
    return policy is not None and any(_CONTEXT in script for script in _scripts(policy))


def _with_context(policy: _PolicySpec, context: Mapping[str, object]) -> Object:
    """Return the policy as it is but for the context, to be applied unless it has changed since it was read."""
    meta = policy.metadata
    metadata = {"name": meta.name, "namespace": meta.namespace, "labels": dict(meta.labels)}
    manifest: Object = {
        "apiVersion": policy.api_version,
        "kind": policy.kind,
        "metadata": metadata,
        "spec": {**policy.spec, "lua": [{**script, _CONTEXT: context} for script in _scripts(policy)]},
    }
    # With the mark of the station's own manifest, so that an install finds nothing to do.
    mark = digest(manifest)
    return {
        **manifest,
        "metadata": {**metadata, "annotations": {APPLIED: mark}, "resourceVersion": meta.resource_version},
    }
