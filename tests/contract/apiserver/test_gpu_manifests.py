"""A real API server takes the device plugins' objects, without a warning, and keeps them as they are."""

import pytest

from llmprov.cluster.apply import apply_set
from llmprov.cluster.client import Cluster
from llmprov.cluster.objects import DAEMONSET
from llmprov.manifests.device_plugin import (
    DCGM_EXPORTER,
    DEVICE_PLUGIN,
    NAMESPACE,
    SIMULATOR,
    nvidia_objects,
    simulator_objects,
)
from llmprov.manifests.render import Manifest
from llmprov.progress import NullProgress

DIGEST = "sha256:" + "0" * 64
REAL = nvidia_objects(f"i.example/plugin@{DIGEST}", f"i.example/dcgm@{DIGEST}")
SIMULATED = simulator_objects(f"i.example/simulator@{DIGEST}")


@pytest.mark.parametrize("objects", [REAL, SIMULATED], ids=["real", "simulated"])
def test_objects_are_stable(cluster: Cluster, objects: tuple[Manifest, ...]) -> None:
    apply_set(cluster, "gpu", objects, NullProgress())
    assert apply_set(cluster, "gpu", objects, NullProgress()).changes == 0


def test_another_mode_takes_the_other_plugin_away(cluster: Cluster) -> None:
    apply_set(cluster, "gpu", REAL, NullProgress())
    apply_set(cluster, "gpu", SIMULATED, NullProgress())
    there = [name for name in (DEVICE_PLUGIN, DCGM_EXPORTER, SIMULATOR) if cluster.get(DAEMONSET, name, NAMESPACE)]
    assert there == [SIMULATOR]
