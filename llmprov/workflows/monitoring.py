"""The monitoring station: what is watched and who is told; and proof that every target is really scraped."""

from llmprov.bundle.lock import BundleLock
from llmprov.cluster.apply import Applied
from llmprov.cluster.client import Cluster
from llmprov.cluster.live import LiveObjects
from llmprov.cluster.objects import DAEMONSET, DEPLOYMENT
from llmprov.cluster.rollout import Workload, wait_rolled_out
from llmprov.errors import InventoryError
from llmprov.inventory import Inventory
from llmprov.manifests import autoscaling, device_plugin, gateway, model
from llmprov.manifests import monitoring as manifests
from llmprov.manifests.monitoring import NAME_LABEL, NAMESPACE
from llmprov.manifests.render import Manifest
from llmprov.observability import scrape
from llmprov.observability.configuration import alertmanager_configuration, job_names, prometheus_configuration
from llmprov.observability.dashboards import dashboards
from llmprov.observability.rules import alert_names, rules_document
from llmprov.observability.scrape import Document, Pods
from llmprov.observability.values import Alert, Objectives
from llmprov.progress import Progress
from llmprov.workflows.monitoring_checks import Expected, alerts_of, wait_scraped
from llmprov.workflows.object_sets import ObjectSet, apply_sets
from llmprov.workflows.references import manifests_of, pinned

MONITORING_SET = "monitoring"
_ALWAYS = ("prometheus", "alertmanager", "node-exporter", "metrics-server")
_ROLLOUT_SECONDS = 300.0
_LONGEST_TIMEOUT = 10
# A job that has targets only once a model is deployed.
_LATER = "vllm"


def images(inventory: Inventory, lock: BundleLock) -> tuple[str, ...]:  # noqa: ARG001 - the shape of a station
    """Return the names of the bundle's images that this station's pods name.

    Raises:
        InventoryError: `cluster_monitoring` names an alert that does not exist.
    """
    _check(inventory)
    settings = inventory.settings.monitoring
    optional = {"kube-state-metrics": settings.kube_state_metrics, "grafana": settings.grafana}
    return (*_ALWAYS, *(name for name, wanted in optional.items() if wanted))


def sets(cluster: Cluster, inventory: Inventory, lock: BundleLock) -> tuple[ObjectSet, ...]:  # noqa: ARG001 - every station's signature
    """Return what the station applies.

    Raises:
        BundleError: the bundle lacks something.
        InventoryError: `cluster_monitoring` names an alert that does not exist.
    """
    return (ObjectSet(MONITORING_SET, objects(inventory, lock)),)


def apply(
    cluster: Cluster, inventory: Inventory, lock: BundleLock, progress: Progress, *, live: LiveObjects | None = None
) -> Applied:
    """Apply everything that watches.

    Raises:
        ClusterError: the API refuses an object.
        BundleError: the bundle lacks something.
        InventoryError: `cluster_monitoring` names an alert that does not exist.
    """
    for component in absent(inventory):
        progress.note(f"{component} is off in this inventory (cluster_monitoring)")
    return apply_sets(cluster, sets(cluster, inventory, lock), progress, live=live)


def wait(cluster: Cluster, inventory: Inventory, progress: Progress) -> None:
    """Wait until everything runs and every target is scraped.

    Raises:
        ClusterError: something does not start, or a target is not scraped: each with its last error.
    """
    wait_rolled_out(cluster, NAMESPACE, _workloads(inventory), progress)
    wait_scraped(cluster, _expected(inventory), progress)


def firing(cluster: Cluster) -> tuple[Alert, ...]:
    """Return the alerts that fire, worst first; those that another one explains are left out.

    Raises:
        ClusterError: Alertmanager does not answer.
    """
    return alerts_of(cluster)


def absent(inventory: Inventory) -> tuple[str, ...]:
    """Return what an inventory leaves out, by its name in messages."""
    settings = inventory.settings.monitoring
    switches = {
        "Grafana": settings.grafana,
        "kube-state-metrics": settings.kube_state_metrics,
        "DCGM exporter": inventory.settings.gpu_mode == "real",
    }
    return tuple(name for name, wanted in switches.items() if not wanted)


def objects(inventory: Inventory, lock: BundleLock) -> tuple[Manifest, ...]:
    """Return every object of the station."""
    _check(inventory)
    settings = inventory.settings.monitoring
    release = manifests_of(inventory, lock, "metrics-server-manifests")
    image = {name: pinned(lock.image(name)) for name in images(inventory, lock)}
    found = [
        *manifests.namespace_objects(),
        *manifests.prometheus_objects(_prometheus(inventory, image["prometheus"])),
        *manifests.alertmanager_objects(_alertmanager(inventory, image["alertmanager"])),
        *manifests.node_exporter_objects(image["node-exporter"]),
        *manifests.metrics_server_objects(release, image["metrics-server"]),
    ]
    if settings.kube_state_metrics:
        found += manifests.kube_state_metrics_objects(image["kube-state-metrics"])
    if settings.grafana:
        found += manifests.grafana_objects(manifests.GrafanaInputs(image=image["grafana"], dashboards=dashboards()))
    return tuple(found)


def objectives(inventory: Inventory) -> Objectives:
    """Turn an inventory's settings into what alerts depend on."""
    settings = inventory.settings.monitoring
    return Objectives(
        availability=settings.availability,
        ttft_seconds=settings.ttft_seconds,
        ttft_share=settings.ttft_share,
        queue_per_replica=settings.queue_per_replica,
        scrape_timeout=scrape_timeout(inventory),
        alert_seconds=settings.alert_seconds,
    )


def scrape_timeout(inventory: Inventory) -> int:
    """Return the seconds after which a scrape is given up: before the next one begins."""
    return min(_LONGEST_TIMEOUT, inventory.settings.monitoring.scrape_seconds - 1)


def jobs(inventory: Inventory) -> tuple[Document, ...]:
    """Return the scrape jobs of a cluster."""
    settings = inventory.settings
    routes = scrape.routes_to_models(model.NAMESPACE)
    proxies = ",".join(f"{key}={value}" for key, value in gateway.PROXY_LABELS.items())
    found = [
        scrape.fixed("prometheus", f"localhost:{manifests.PROMETHEUS_PORT}"),
        scrape.pods(_own(manifests.ALERTMANAGER, manifests.ALERTMANAGER_PORT)),
        scrape.pods(_own(manifests.NODE_EXPORTER, manifests.NODE_EXPORTER_PORT)),
        scrape.secure_pods(
            Pods(manifests.METRICS_SERVER, NAMESPACE, "k8s-app=metrics-server", manifests.METRICS_SERVER_PORT)
        ),
        scrape.nodes("kubelet", "/metrics"),
        scrape.nodes("cadvisor", "/metrics/cadvisor"),
        scrape.api_servers(),
        scrape.pods(Pods("coredns", "kube-system", "k8s-app=kube-dns", 9153)),
        scrape.pods(Pods("envoy-gateway", gateway.NAMESPACE, "control-plane=envoy-gateway", 19001)),
        scrape.with_metrics(scrape.pods(Pods("envoy", gateway.NAMESPACE, proxies, 19001, "/stats/prometheus")), routes),
        scrape.pods(
            Pods(
                "keda", autoscaling.NAMESPACE, "app in (keda-operator,keda-metrics-apiserver)", 8080, honor_labels=True
            )
        ),
        scrape.models(model.NAMESPACE),
    ]
    if settings.monitoring.kube_state_metrics:
        exporter = _own(manifests.KUBE_STATE_METRICS, manifests.KUBE_STATE_METRICS_PORT, honor_labels=True)
        found.append(scrape.pods(exporter))
    if settings.gpu_mode == "real":
        name, port = device_plugin.DCGM_EXPORTER, device_plugin.DCGM_PORT
        found.append(scrape.pods(Pods(name, device_plugin.NAMESPACE, f"{NAME_LABEL}={name}", port, honor_labels=True)))
    return tuple(found)


def _own(name: str, port: int, *, honor_labels: bool = False) -> Pods:
    return Pods(name, NAMESPACE, f"{NAME_LABEL}={name}", port, honor_labels=honor_labels)


def _prometheus(inventory: Inventory, image: str) -> manifests.PrometheusInputs:
    settings, found = inventory.settings.monitoring, jobs(inventory)
    required = [name for name in job_names(found) if name != _LATER]
    return manifests.PrometheusInputs(
        image=image,
        configuration=prometheus_configuration(
            found,
            cluster=inventory.settings.name,
            scrape_seconds=settings.scrape_seconds,
            scrape_timeout=scrape_timeout(inventory),
            alertmanager=f"{manifests.ALERTMANAGER}:{manifests.ALERTMANAGER_PORT}",
        ),
        rules=rules_document(objectives(inventory), required),
        retention_days=settings.retention_days,
        retention_gib=settings.retention_gib,
        memory=settings.memory,
    )


def _alertmanager(inventory: Inventory, image: str) -> manifests.AlertmanagerInputs:
    settings = inventory.settings.monitoring
    configuration = alertmanager_configuration(
        webhook=settings.webhook.get_secret_value(),
        watchdog_webhook=settings.watchdog_webhook.get_secret_value(),
        sections=settings.alertmanager,
    )
    return manifests.AlertmanagerInputs(image=image, configuration=configuration)


def _check(inventory: Inventory) -> None:
    unknown = sorted(set(inventory.settings.monitoring.alert_seconds) - alert_names())
    if unknown:
        raise InventoryError(
            f"cluster_monitoring.alert_seconds names alerts that do not exist: {', '.join(unknown)}",
            remedy="docs/monitoring.md lists the alerts",
            details=tuple(f"there is: {name}" for name in sorted(alert_names())),
        )


def _workloads(inventory: Inventory) -> tuple[Workload, ...]:
    settings = inventory.settings.monitoring
    names = {
        manifests.PROMETHEUS: True,
        manifests.ALERTMANAGER: True,
        manifests.KUBE_STATE_METRICS: settings.kube_state_metrics,
        manifests.GRAFANA: settings.grafana,
    }
    exporter, server = manifests.NODE_EXPORTER, manifests.METRICS_SERVER
    return (
        *(
            Workload(DEPLOYMENT, NAMESPACE, name, {NAME_LABEL: name}, _ROLLOUT_SECONDS, title=name)
            for name, wanted in names.items()
            if wanted
        ),
        Workload(DAEMONSET, NAMESPACE, exporter, {NAME_LABEL: exporter}, _ROLLOUT_SECONDS, title=exporter),
        Workload(DEPLOYMENT, NAMESPACE, server, {"k8s-app": server}, _ROLLOUT_SECONDS, title=server),
    )


def _expected(inventory: Inventory) -> tuple[Expected, ...]:
    nodes = len({host.name for host in (*inventory.control_plane, *inventory.workers)})
    counts = {"kubelet": nodes, "cadvisor": nodes, manifests.NODE_EXPORTER: nodes}
    counts |= {"apiserver": len(inventory.control_plane)}
    names = [name for name in job_names(jobs(inventory)) if name != _LATER]
    return tuple(Expected(name, counts.get(name, 1)) for name in names)
