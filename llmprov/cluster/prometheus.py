"""Asks the cluster's Prometheus, through the API server's service proxy."""

from collections.abc import Mapping
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict

from llmprov.cluster.client import Cluster
from llmprov.errors import ClusterError

_PATH = "/api/v1/namespaces/llmprov-monitoring/services/prometheus:9090/proxy/api/v1/query"


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Sample(_Wire):
    metric: Mapping[str, str]
    value: tuple[float, str]


class _Data(_Wire):
    result: tuple[_Sample, ...]


class _Answer(_Wire):
    data: _Data


def instant(cluster: Cluster, query: str) -> tuple[float, ...]:
    """Return the values of a query now, one for each series; empty when there are no data.

    Raises:
        ClusterError: Prometheus does not answer, or refuses the query.
    """
    try:
        with cluster.open("GET", f"{_PATH}?{urlencode({'query': query})}") as response:
            answer = _Answer.model_validate_json(response.read())
    except ClusterError as error:
        raise ClusterError(
            f"Prometheus does not answer: {error.message}",
            remedy="look at it: kubectl -n llmprov-monitoring get pods; llmprov install puts it there",
            details=error.details,
        ) from error
    return tuple(float(sample.value[1]) for sample in answer.data.result)
