"""What an inventory leads to: images, objects, jobs."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmprov import inventory
from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.errors import InventoryError
from llmprov.inventory import Inventory
from llmprov.paths import content_root
from llmprov.progress import NullProgress
from llmprov.workflows import monitoring
from llmprov.workflows.monitoring import absent, images, jobs, objects
from tests.unit.cluster.conftest import Direct, cluster_at
from tests.unit.cluster.fakeapi import FakeApi, serve
from tests.unit.manifests.test_monitoring import METRICS_SERVER

DIGEST = "0" * 64
NAMES = ("prometheus", "alertmanager", "node-exporter", "metrics-server", "kube-state-metrics", "grafana")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    shutil.copytree(content_root() / "inventories" / "example", tmp_path / "i")
    settings = tmp_path / "i" / "group_vars" / "all.yml"
    settings.write_text(f"{settings.read_text()}\ncluster_monitoring: {{}}\n")
    replace(settings, "cluster_bundle_dir: /srv/llmprov/bundle", f"cluster_bundle_dir: {tmp_path / 'bundle'}")
    return tmp_path / "i"


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def load(directory: Path, monitoring_settings: str = "{}") -> Inventory:
    file = directory / "group_vars" / "all.yml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("cluster_monitoring:")]
    file.write_text("\n".join([*lines, f"cluster_monitoring: {monitoring_settings}"]) + "\n")
    return inventory.load(directory)


@pytest.fixture(autouse=True)
def _private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPROV_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def lock(tmp_path: Path) -> BundleLock:
    release = yaml.safe_dump_all(METRICS_SERVER).encode()
    blobs = tmp_path / "bundle" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / DIGEST).write_bytes(release)
    common: dict[str, Any] = {"version": "1", "source": "s", "sha256": DIGEST, "size": 1, "licence": "MIT"}
    files = [LockedArtifact(kind="file", name="metrics-server-manifests", **common)]
    pictures = [LockedArtifact(kind="image", name=name, ref=f"docker.io/x/{name}:1", **common) for name in NAMES]
    return BundleLock.of("test", [*files, *pictures])


def named(items: Any, kind: str) -> set[str]:  # noqa: ANN401 - objects of the API
    return {item["metadata"]["name"] for item in items if item["kind"] == kind}


def test_production_has_everything(directory: Path, lock: BundleLock) -> None:
    cluster = load(directory)
    assert set(images(cluster, lock)) == set(NAMES)
    assert named(objects(cluster, lock), "Deployment") == set(NAMES) - {"node-exporter"}
    assert absent(cluster) == ()


def test_what_is_off_is_left_out_and_said(directory: Path, lock: BundleLock) -> None:
    cluster = load(directory, "{grafana: false, kube_state_metrics: false}")
    assert {"grafana", "kube-state-metrics"} & set(images(cluster, lock)) == set()
    assert {"grafana", "kube-state-metrics"} & named(objects(cluster, lock), "Deployment") == set()
    assert "kube-state-metrics" not in {job["job_name"] for job in jobs(cluster)}
    assert absent(cluster) == ("Grafana", "kube-state-metrics")


def test_an_alert_that_does_not_exist_is_refused_before_anything_is_applied(directory: Path, lock: BundleLock) -> None:
    cluster = load(directory, "{alert_seconds: {QueueGroving: 10}}")
    with pytest.raises(InventoryError, match="QueueGroving") as caught:
        images(cluster, lock)
    assert "there is: QueueGrowing" in caught.value.details


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("{retension_days: 3}", "retension_days"),
        ("{ttft_seconds: 3}", "vLLM counts first tokens within"),
        ("{scrape_seconds: 0}", "scrape_seconds"),
        ("{memory: lots}", "memory"),
    ],
)
def test_a_wrong_setting_is_named(directory: Path, settings: str, says: str) -> None:
    with pytest.raises(InventoryError) as caught:
        load(directory, settings)
    text = "\n".join((caught.value.message, *caught.value.details))
    assert says in text
    assert "cluster_monitoring" in text


def test_settings_reach_prometheus(directory: Path, lock: BundleLock) -> None:
    cluster = load(directory, "{retention_days: 3, retention_gib: 2, memory: 512Mi, alert_seconds: {DiskFilling: 7}}")
    found = objects(cluster, lock)
    deployment: Any = next(item for item in found if item["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {"--storage.tsdb.retention.time=3d", "--storage.tsdb.retention.size=2GB"} <= set(container["args"])
    assert container["resources"]["limits"] == {"memory": "512Mi"}
    config: Any = next(item for item in found if item["kind"] == "ConfigMap")
    groups = yaml.safe_load(config["data"]["rules.yml"])["groups"]
    (disk,) = [rule for group in groups for rule in group["rules"] if rule.get("alert") == "DiskFilling"]
    assert disk["for"] == "7s"


def test_secrets_are_not_shown(directory: Path) -> None:
    cluster = load(directory, '{webhook: "https://alerts.example.org/T0KEN"}')
    assert "T0KEN" not in f"{cluster.settings!r}{cluster.settings.model_dump_json()}"
    assert cluster.settings.monitoring.webhook.get_secret_value().endswith("T0KEN")


def test_a_second_apply_changes_nothing(directory: Path, lock: BundleLock) -> None:
    cluster = load(directory)
    api = FakeApi()
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})
    with serve(api) as url:
        client = cluster_at(url, Direct(url), patience=2.0)
        assert monitoring.apply(client, cluster, lock, NullProgress()).changes > 0
        assert monitoring.apply(client, cluster, lock, NullProgress()).changes == 0
