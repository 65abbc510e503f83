"""The operators' lock in the cluster: a Lease, taken and kept with the API's own optimistic concurrency."""

from datetime import UTC, datetime
from http import HTTPStatus

from pydantic import field_validator

from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import Header, View
from llmprov.cluster.problems import classify
from llmprov.errors import ClusterError
from llmprov.holders import TAKEOVER_SECONDS, Holder, Occupant, lost_unseen

NAME = "llmprov"
NAMESPACE = "kube-system"
HOLDER_ANNOTATION = "llmprov.io/holder"
_LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
_ATTEMPTS = 5
"""How often a write that met another one is decided anew; of two at once one wins the first time."""


class _Spec(View):
    holder_identity: str = ""
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int = 0

    @field_validator("holder_identity", "lease_transitions", mode="before")
    @classmethod
    def _unset(cls, value: object, info: object) -> object:
        empty: object = "" if getattr(info, "field_name", "") == "holder_identity" else 0
        return empty if value is None else value


class _Lease(Header):
    spec: _Spec = _Spec()


class LeaseLock:
    """The Lease `llmprov` in kube-system. All its times are the API server's: no controller's clock decides."""

    def __init__(self) -> None:
        self._renewed: datetime | None = None

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"Lease {NAMESPACE}/{NAME}"

    def take(self, cluster: Cluster, holder: Holder) -> Occupant | None:
        """Take the lock; return whose it was when it was abandoned.

        Raises:
            BusyError: somebody holds it.
            ClusterError: the API does not answer, or refuses.
        """
        for _attempt in range(_ATTEMPTS):
            now, found = _server_time(cluster), _get(cluster)
            other = self._occupant(found, holder, now)
            if other is not None and not other.abandoned:
                raise other.busy()
            if self._put(cluster, holder, found, now):
                return other
        raise _contended(self.name)

    def renew(self, cluster: Cluster, holder: Holder) -> None:
        """Say that the holder lives.

        A Lease that is gone, or older than the last renewal, came with another state of the cluster's store: a restored
        one. It is made again.

        Raises:
            BusyError: somebody has taken over.
            ClusterError: the API does not answer, or refuses.
        """
        for _attempt in range(_ATTEMPTS):
            now, found = _server_time(cluster), _get(cluster)
            if found is not None and found.spec.holder_identity != holder.identity and self._is_newer(found):
                other = self._occupant(found, holder, now)
                raise other.lost_to() if other else lost_unseen(self.name)
            if self._put(cluster, holder, found, now):
                return
        raise _contended(self.name)

    def release(self, cluster: Cluster, holder: Holder) -> None:
        """Give the lock back; one that is somebody else's stays. The object stays: who went away can tell by it.

        Raises:
            ClusterError: the API does not answer, or refuses.
        """
        for _attempt in range(_ATTEMPTS):
            now, found = _server_time(cluster), _get(cluster)
            if found is None or found.spec.holder_identity != holder.identity:
                return
            if self._put(cluster, None, found, now):
                return
        raise _contended(self.name)

    def _is_newer(self, found: _Lease) -> bool:
        written = found.spec.renew_time
        return self._renewed is None or (written is not None and written >= self._renewed)

    def _occupant(self, found: _Lease | None, holder: Holder, now: datetime) -> Occupant | None:
        if found is None or found.spec.holder_identity in {"", holder.identity}:
            return None
        held, silent = (
            (now - moment).total_seconds() if moment else TAKEOVER_SECONDS + 1.0
            for moment in (found.spec.acquire_time, found.spec.renew_time)
        )
        written = Holder.from_json(found.metadata.annotations.get(HOLDER_ANNOTATION, ""))
        return Occupant(written, held, silent, self.name)

    def _put(self, cluster: Cluster, holder: Holder | None, found: _Lease | None, now: datetime) -> bool:
        """Write it unless somebody else did since it was read; tell whether it was written."""
        body = _written(holder, found, now)
        if found is None:
            status, answer = _exchange(cluster, "POST", _LEASES, body)
        else:
            status, answer = _exchange(cluster, "PUT", f"{_LEASES}/{NAME}", body)
        # A PUT meets none when the cluster's store was replaced since.
        replaced = found is not None and status == HTTPStatus.NOT_FOUND
        if status == HTTPStatus.CONFLICT or replaced:
            return False
        _check(status, answer, "write")
        self._renewed = now
        return True


def _written(holder: Holder | None, found: _Lease | None, now: datetime) -> Object:
    identity = holder.identity if holder else ""
    before = found.spec if found else _Spec()
    mine = before.holder_identity == identity
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": TAKEOVER_SECONDS,
        "acquireTime": _micro_time(before.acquire_time if mine and before.acquire_time else now),
        "renewTime": _micro_time(now),
        "leaseTransitions": before.lease_transitions + (0 if mine else 1),
    }
    annotations = {HOLDER_ANNOTATION: holder.to_json()} if holder else {}
    meta: dict[str, object] = {"name": NAME, "namespace": NAMESPACE, "annotations": annotations}
    if found is not None:
        meta["resourceVersion"] = found.metadata.resource_version
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


def _get(cluster: Cluster) -> _Lease | None:
    status, answer = _exchange(cluster, "GET", f"{_LEASES}/{NAME}", None)
    if status == HTTPStatus.NOT_FOUND:
        return None
    _check(status, answer, "get")
    return _Lease.model_validate_json(answer)


def _server_time(cluster: Cluster) -> datetime:
    """Ask the API server for the time: it stamps what it only pretends to create."""
    meta = {"generateName": f"{NAME}-clock-", "namespace": NAMESPACE}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
    status, answer = _exchange(cluster, "POST", f"{_LEASES}?dryRun=All", body)
    _check(status, answer, "create")
    stamp = _Lease.model_validate_json(answer).metadata.creation_timestamp
    if stamp is None:
        raise ClusterError(
            "the Kubernetes API server does not say what time it is",
            remedy="look at the API server: llmprov status",
            details=(f"POST {_LEASES}?dryRun=All has no creationTimestamp",),
        )
    return stamp


def _exchange(cluster: Cluster, method: str, path: str, body: Object | None) -> tuple[int, bytes]:
    with cluster.exchange(method, path, body=body, read_timeout=10.0) as response:
        return response.status, response.read()


def _check(status: int, answer: bytes, doing: str) -> None:
    if status >= HTTPStatus.BAD_REQUEST:
        raise classify(status, answer, f"{doing} Lease {NAMESPACE}/{NAME}")


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _contended(where: str) -> ClusterError:
    return ClusterError(
        f"{where} was written by others {_ATTEMPTS} times while it was being taken", remedy="run the same command again"
    )
