"""A real API server takes KEDA's release as we change it, and the objects that scale a model, without a change."""

import pytest

from llmprov import paths
from llmprov.bundle.lock import LOCK_FILE, BundleLock
from llmprov.cluster.apply import apply_set
from llmprov.cluster.client import Cluster
from llmprov.errors import ClusterError
from llmprov.manifests import addon
from llmprov.manifests.autoscaling import AutoscalerInputs, KedaImages, autoscaler_objects, keda_objects
from llmprov.progress import NullProgress

IMAGES = KedaImages(operator="k/o@sha256:" + "1" * 64, adapter="k/a@sha256:" + "2" * 64)
SCALER = AutoscalerInputs(
    name="m", min_replicas=1, max_replicas=2, target_requests=4, kv_cache_percent=80, cooldown_seconds=60
)


@pytest.fixture
def release() -> addon.Objects:
    bundle = paths.cache_dir() / "bundle"
    names = {item.name for item in BundleLock.load(bundle).artifacts} if (bundle / LOCK_FILE).exists() else set()
    if "keda-manifests" not in names:
        pytest.skip("no bundle with KEDA: make bundle")
    return addon.load(bundle / "blobs" / "sha256" / BundleLock.load(bundle).file("keda-manifests").sha256)


def test_keda_and_a_models_autoscaler_are_stable(cluster: Cluster, namespace: str, release: addon.Objects) -> None:
    keda = keda_objects(release, IMAGES, "cluster.local")
    apply_set(cluster, "autoscaling", keda, NullProgress())
    assert apply_set(cluster, "autoscaling", keda, NullProgress()).changes == 0
    scaler = autoscaler_objects(SCALER, namespace)
    assert apply_set(cluster, namespace, scaler, NullProgress()).created == (f"ScaledObject {namespace}/m",)
    assert apply_set(cluster, namespace, scaler, NullProgress()).changes == 0
    assert apply_set(cluster, namespace, (), NullProgress()).pruned == (f"ScaledObject {namespace}/m",)
    too_many = SCALER.model_copy(update={"cooldown_seconds": 4000})
    with pytest.raises(ClusterError, match="stabilizationWindowSeconds"):
        apply_set(cluster, namespace, autoscaler_objects(too_many, namespace), NullProgress())
