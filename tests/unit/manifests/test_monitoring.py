"""What watches the cluster, as reviewed files."""

import base64
from typing import Any

import pytest
import yaml

from llmprov.manifests.monitoring import (
    AlertmanagerInputs,
    GrafanaInputs,
    PrometheusInputs,
    alertmanager_objects,
    go_memory,
    grafana_objects,
    kube_state_metrics_objects,
    metrics_server_objects,
    namespace_objects,
    node_exporter_objects,
    prometheus_objects,
)
from llmprov.manifests.render import Manifest, dump
from tests.golden.review import reviewed

DIGEST = "sha256:" + "0" * 64
PROMETHEUS = PrometheusInputs(
    image=f"docker.io/prom/prometheus@{DIGEST}",
    configuration={"scrape_configs": [{"job_name": "a"}]},
    rules={"groups": []},
    retention_days=15,
    retention_gib=8,
    memory="2Gi",
)
# The shape of the official release, as far as llmprov changes it.
METRICS_SERVER: tuple[Manifest, ...] = tuple(
    yaml.safe_load_all("""
apiVersion: v1
kind: ServiceAccount
metadata: {name: metrics-server, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: metrics-server-auth-reader, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: kube-system}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: metrics-server, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: metrics-server}}
  template:
    metadata: {labels: {k8s-app: metrics-server}}
    spec:
      serviceAccountName: metrics-server
      containers:
        - name: metrics-server
          image: registry.k8s.io/metrics-server/metrics-server:v0.9.0
          args: [--cert-dir=/tmp, --secure-port=10250]
          readinessProbe: {httpGet: {path: /readyz, port: https}, initialDelaySeconds: 20, periodSeconds: 10}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  service: {name: metrics-server, namespace: kube-system}
  version: v1beta1
""")
)
CASES: dict[str, tuple[Manifest, ...]] = {
    "monitoring-prometheus": (*namespace_objects(), *prometheus_objects(PROMETHEUS)),
    "monitoring-alertmanager": alertmanager_objects(
        AlertmanagerInputs(
            image=f"docker.io/prom/alertmanager@{DIGEST}", configuration={"route": {"receiver": "nobody"}}
        )
    ),
    "monitoring-node-exporter": node_exporter_objects(f"docker.io/prom/node-exporter@{DIGEST}"),
    "monitoring-kube-state-metrics": kube_state_metrics_objects(f"registry.k8s.io/kube-state-metrics@{DIGEST}"),
    "monitoring-metrics-server": metrics_server_objects(METRICS_SERVER, f"registry.k8s.io/metrics-server@{DIGEST}"),
    "monitoring-grafana": grafana_objects(
        GrafanaInputs(
            image=f"docker.io/grafana/grafana@{DIGEST}", dashboards={"fleet": '{"title": "{{ not a template }}"}'}
        )
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rendered_objects_are_the_reviewed_ones(name: str) -> None:
    reviewed(f"{name}.yaml", dump(CASES[name]))


def pod_of(objects: tuple[Manifest, ...]) -> Any:  # noqa: ANN401 - an object of the API
    workload: Any = next(item for item in objects if item["kind"] in {"Deployment", "DaemonSet"})
    return workload["spec"]["template"]


def test_another_rule_starts_prometheus_anew() -> None:
    other = PROMETHEUS.model_copy(update={"rules": {"groups": [{"name": "a", "rules": []}]}})
    hashes = [
        pod_of(prometheus_objects(inputs))["metadata"]["annotations"]["llmprov.io/config"]
        for inputs in (PROMETHEUS, PROMETHEUS.model_copy(), other)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("name", CASES)
def test_no_pod_of_it_is_privileged(name: str) -> None:
    pod = pod_of(CASES[name])["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert "@sha256:" in container["image"]


def test_a_webhook_is_only_in_the_secret() -> None:
    configuration = {"receivers": [{"name": "w", "webhook_configs": [{"url": "https://x/token"}]}]}
    objects = alertmanager_objects(AlertmanagerInputs(image="i@sha256:0", configuration=configuration))
    assert "token" not in dump(objects)
    secret: Any = next(item for item in objects if item["kind"] == "Secret")
    assert yaml.safe_load(base64.b64decode(secret["data"]["alertmanager.yml"])) == configuration


def test_the_collector_works_harder_before_the_limit_kills() -> None:
    assert go_memory("2Gi") == "1638MiB"
    assert go_memory("512Mi") == "409MiB"
