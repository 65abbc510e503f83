"""What an API serves: every kind with its resource, by one question to each of the API's two roots.

It takes the place of the library's own discovery, which asks for each group by itself and for all that it knew once
more when a kind is unknown, keeps its answers in a file, and has no locks for several threads.
"""

from threading import Lock

from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ResourceNotFoundError
from kubernetes.dynamic.resource import Resource

from llmprov.cluster.objects import Kind, View
from llmprov.cluster.transport import CONNECT_TIMEOUT, READ_TIMEOUT

_ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_ROOTS = ("api", "apis")


class _Response(View):
    kind: str = ""


class _Subresource(View):
    subresource: str
    response_kind: _Response | None = None


class _Resource(View):
    resource: str
    scope: str = ""
    response_kind: _Response | None = None
    subresources: tuple[_Subresource, ...] = ()

    @property
    def namespaced(self) -> bool:
        return self.scope == "Namespaced"

    def below(self, child: _Subresource) -> dict[str, object]:
        kind = child.response_kind.kind if child.response_kind else ""
        return {"name": f"{self.resource}/{child.subresource}", "kind": kind, "namespaced": self.namespaced}


class _Version(View):
    version: str
    resources: tuple[_Resource, ...] = ()


class _Meta(View):
    name: str = ""


class _Group(View):
    metadata: _Meta = _Meta()
    versions: tuple[_Version, ...] = ()


class _Document(View):
    items: tuple[_Group, ...] = ()


class Discovery:
    """Knows what the API serves, and asks again when it is asked for something else; several threads may use it.

    Args:
        client: that asks, and through which the resources are reached.
        _cache_file: the library's client names one; none is kept.
    """

    def __init__(self, client: DynamicClient, _cache_file: str | None = None) -> None:
        self._client = client
        self._resources: dict[Kind, Resource] = {}
        self._lock = Lock()

    def get(self, *, api_version: str, kind: str) -> Resource:
        """Return the resource of a kind.

        Raises:
            ResourceNotFoundError: the API does not serve it.
            ApiException: the API refuses to say.
        """
        wanted = Kind(api_version, kind)
        with self._lock:
            if wanted not in self._resources:
                self._look()
            found = self._resources.get(wanted)
        if found is None:
            raise ResourceNotFoundError(f"{api_version} {kind}")
        return found

    def kinds(self) -> frozenset[Kind]:
        """Return all kinds, asked anew."""
        with self._lock:
            self._look()
            return frozenset(self._resources)

    def groups(self) -> frozenset[str]:
        """Return the groups and versions, asked anew: `v1`, `apps/v1`."""
        with self._lock:
            return self._look()

    def _look(self) -> frozenset[str]:
        found: dict[Kind, Resource] = {}
        groups: set[str] = set()
        for prefix in _ROOTS:
            for group in self._asked(prefix).items:
                for version in group.versions:
                    resources = self._resources_of(prefix, group.metadata.name, version)
                    found |= {Kind(resource.group_version, resource.kind): resource for resource in resources}
                    groups.add("/".join(filter(None, (group.metadata.name, version.version))))
        self._resources = found
        return frozenset(groups)

    def _asked(self, prefix: str) -> _Document:
        accept = {"Accept": _ACCEPT}
        answer = self._client.request(
            "get", f"/{prefix}", header_params=accept, serialize=False, _request_timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
        )
        return _Document.model_validate_json(answer.data)

    def _resources_of(self, prefix: str, group: str, version: _Version) -> list[Resource]:
        return [
            Resource(  # type: ignore[no-untyped-call]
                prefix=prefix,
                group=group,
                api_version=version.version,
                kind=item.response_kind.kind,
                name=item.resource,
                namespaced=item.namespaced,
                subresources={child.subresource: item.below(child) for child in item.subresources},
                client=self._client,
            )
            for item in version.resources
            if item.response_kind is not None and item.response_kind.kind
        ]
