"""Turns what the Kubernetes API answers into messages for people."""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmprov.errors import ClusterError


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Cause(_Wire):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(_Wire):
    causes: tuple[_Cause, ...] = ()


class Status(_Wire):
    """The API's own error document (`kind: Status`)."""

    message: str = ""
    reason: str = ""
    details: _Details = Field(default_factory=_Details)


_REMEDIES: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the certificate was refused: renew it with `kubeadm certs renew admin.conf`",
    HTTPStatus.FORBIDDEN: "read the reason above: an admission policy or a quota refused the object",
    HTTPStatus.NOT_FOUND: "the cluster is older or newer than this llmprov expects: run `llmprov status`",
    HTTPStatus.UNPROCESSABLE_ENTITY: "correct the field named above in the inventory",
}


def parse_status(body: str | bytes | None) -> Status:
    """Read an error body; one that is not the API's own (a proxy's page) becomes its message."""
    if not body:
        return Status()
    try:
        return Status.model_validate_json(body)
    except ValidationError:
        text = body.decode(errors="replace") if isinstance(body, bytes) else body
        return Status(message=text.strip()[:500])


def classify(status: int, body: str | bytes | None, what: str) -> ClusterError:
    """Make the error of a refused request; `what` names the request: `apply Deployment llmprov-models/smollm2`."""
    parsed = parse_status(body)
    conflicts = [cause for cause in parsed.details.causes if cause.reason == "FieldManagerConflict"]
    if status == HTTPStatus.CONFLICT and conflicts:
        return ClusterError(
            f"{what}: somebody else has set fields that llmprov sets too",
            remedy=(
                "make the change in the inventory instead of in the cluster, then let llmprov take the fields back: "
                "llmprov model deploy --take-over"
            ),
            details=tuple(f"{cause.field}: {cause.message}" for cause in conflicts),
        )
    details = tuple(
        f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in parsed.details.causes
    )
    return ClusterError(
        f"{what}: the Kubernetes API answered {status} {parsed.reason}: {parsed.message}",
        remedy=_REMEDIES.get(status, "look at the API server: llmprov status"),
        details=details,
    )
