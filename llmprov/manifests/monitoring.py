"""Prometheus, Alertmanager, node-exporter and, where they are on, kube-state-metrics, metrics-server and Grafana."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence

import yaml

from llmprov.manifests.addon import (
    GPU_NODE_LABEL,
    hardened,
    in_namespace,
    patched,
    placed,
    with_arguments,
    with_images,
    with_resources,
)
from llmprov.manifests.podspec import change_containers
from llmprov.manifests.render import Inputs, Manifest, render
from llmprov.manifests.tree import child

NAMESPACE = "llmprov-monitoring"
NAME_LABEL = "app.kubernetes.io/name"
PROMETHEUS = "prometheus"
PROMETHEUS_PORT = 9090
ALERTMANAGER = "alertmanager"
ALERTMANAGER_PORT = 9093
NODE_EXPORTER = "node-exporter"
NODE_EXPORTER_PORT = 9100
KUBE_STATE_METRICS = "kube-state-metrics"
KUBE_STATE_METRICS_PORT = 8080
METRICS_SERVER = "metrics-server"
METRICS_SERVER_PORT = 10250
GRAFANA = "grafana"
GRAFANA_PORT = 3000

# The garbage collector works harder as this comes near, and the limit of the container kills.
_GO_SHARE = 0.8
_UNITS: Mapping[str, int] = {"Mi": 1, "Gi": 1024}
_METRICS_SERVER_REPOSITORY = "registry.k8s.io/metrics-server/metrics-server"


class PrometheusInputs(Inputs):
    """What Prometheus depends on; the image is a reference by digest."""

    image: str
    configuration: Mapping[str, object]
    rules: Mapping[str, object]
    retention_days: int
    retention_gib: int
    memory: str
    """Limit, in Mi or Gi."""


class AlertmanagerInputs(Inputs):
    """What Alertmanager depends on; the image is a reference by digest."""

    image: str
    configuration: Mapping[str, object]


class GrafanaInputs(Inputs):
    """What Grafana depends on; the image is a reference by digest."""

    image: str
    dashboards: Mapping[str, str]
    """Dashboards as JSON, by name."""


class _Common(Inputs):
    namespace: str = NAMESPACE
    gpu_label: str = GPU_NODE_LABEL


class _Prometheus(_Common):
    prometheus_image: str
    prometheus_configuration: str
    rules: str
    prometheus_hash: str
    prometheus_memory: str
    prometheus_go_memory: str
    prometheus_port: int = PROMETHEUS_PORT
    retention_days: int
    retention_gib: int


class _Alertmanager(_Common):
    alertmanager_image: str
    alertmanager_configuration: str
    alertmanager_hash: str
    alertmanager_port: int = ALERTMANAGER_PORT


class _NodeExporter(_Common):
    node_exporter_image: str
    node_exporter_port: int = NODE_EXPORTER_PORT


class _KubeStateMetrics(_Common):
    image: str
    port: int = KUBE_STATE_METRICS_PORT


class _Grafana(_Common):
    image: str
    port: int = GRAFANA_PORT
    datasources: str
    providers: str
    dashboards: Mapping[str, str]
    config_hash: str


def namespace_objects() -> tuple[Manifest, ...]:
    """Return the namespace of everything that watches."""
    return render("monitoring-namespace.yaml.j2", _Common())


def prometheus_objects(inputs: PrometheusInputs) -> tuple[Manifest, ...]:
    """Return Prometheus, with its rules and what it may read."""
    configuration, rules = _yaml(inputs.configuration), _yaml(inputs.rules)
    return render(
        "prometheus.yaml.j2",
        _Prometheus(
            prometheus_image=inputs.image,
            prometheus_configuration=configuration,
            rules=rules,
            prometheus_hash=_hash(configuration, rules),
            prometheus_memory=inputs.memory,
            prometheus_go_memory=go_memory(inputs.memory),
            retention_days=inputs.retention_days,
            retention_gib=inputs.retention_gib,
        ),
    )


def alertmanager_objects(inputs: AlertmanagerInputs) -> tuple[Manifest, ...]:
    """Return Alertmanager; its configuration may hold secrets, so it is a Secret."""
    configuration = _yaml(inputs.configuration)
    return render(
        "alertmanager.yaml.j2",
        _Alertmanager(
            alertmanager_image=inputs.image,
            alertmanager_configuration=base64.b64encode(configuration.encode()).decode(),
            alertmanager_hash=_hash(configuration),
        ),
    )


def node_exporter_objects(image: str) -> tuple[Manifest, ...]:
    """Return node-exporter, on every node."""
    return render("node-exporter.yaml.j2", _NodeExporter(node_exporter_image=image))


def kube_state_metrics_objects(image: str) -> tuple[Manifest, ...]:
    """Return kube-state-metrics, for the kinds that alerts and dashboards ask for."""
    return render("kube-state-metrics.yaml.j2", _KubeStateMetrics(image=image))


def grafana_objects(inputs: GrafanaInputs) -> tuple[Manifest, ...]:
    """Return Grafana with its data source and dashboards; people look, and change nothing."""
    datasources, providers = _yaml(_DATASOURCES), _yaml(_PROVIDERS)
    return render(
        "grafana.yaml.j2",
        _Grafana(
            image=inputs.image,
            datasources=datasources,
            providers=providers,
            dashboards=inputs.dashboards,
            config_hash=_hash(datasources, providers, *inputs.dashboards.values()),
        ),
    )


def metrics_server_objects(release: Sequence[Manifest], image: str) -> tuple[Manifest, ...]:
    """Make the official release of metrics-server fit.

    Args:
        release: its objects.
        image: reference by digest.
    """
    objects = with_images(release, {_METRICS_SERVER_REPOSITORY: image})
    # kubeadm's kubelets sign their own certificates.
    objects = with_arguments(objects, METRICS_SERVER, "--kubelet-insecure-tls")
    objects = with_resources(
        objects, METRICS_SERVER, requests={"cpu": "50m", "memory": "48Mi"}, limits={"memory": "192Mi"}
    )
    objects = tuple(change_containers(item, _ready_sooner) for item in objects)
    objects = in_namespace(placed(hardened(objects)), NAMESPACE, was="kube-system")
    # This one names a Role that is in kube-system, and must be beside it.
    home = {"metadata": {"namespace": "kube-system"}}
    return patched(objects, "RoleBinding", "metrics-server-auth-reader", home)


def go_memory(limit: str) -> str:
    """Return the soft limit of a Go program's memory for a container's hard one: `2Gi` gives `1638MiB`."""
    return f"{int(int(limit[:-2]) * _UNITS[limit[-2:]] * _GO_SHARE)}MiB"


def _ready_sooner(container: Manifest) -> Manifest:
    # It is ready once it has asked the kubelets twice; only then does the API serve its group.
    probe = child(container, "readinessProbe")
    return container | {
        "readinessProbe": {**probe, "initialDelaySeconds": 1, "periodSeconds": 2, "failureThreshold": 3}
    }


_DATASOURCES: Mapping[str, object] = {
    "apiVersion": 1,
    "datasources": [
        {
            "name": "Prometheus",
            "uid": "prometheus",
            "type": "prometheus",
            "access": "proxy",
            "url": f"http://{PROMETHEUS}:{PROMETHEUS_PORT}",
            "isDefault": True,
            "editable": False,
        },
        {
            "name": "Alertmanager",
            "uid": "alertmanager",
            "type": "alertmanager",
            "access": "proxy",
            "url": f"http://{ALERTMANAGER}:{ALERTMANAGER_PORT}",
            "editable": False,
            "jsonData": {"implementation": "prometheus"},
        },
    ],
}
_PROVIDERS: Mapping[str, object] = {
    "apiVersion": 1,
    "providers": [
        {
            "name": "llmprov",
            "folder": "llmprov",
            "type": "file",
            "allowUiUpdates": False,
            "options": {"path": "/etc/llmprov/dashboards"},
        }
    ],
}


def _yaml(document: Mapping[str, object]) -> str:
    return yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, width=1000)


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
