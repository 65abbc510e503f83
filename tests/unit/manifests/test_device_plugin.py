"""The device plugins' objects, reviewed as files. With LLMPROV_UPDATE_GOLDEN=1 they are written anew."""

import pytest

from llmprov.manifests.device_plugin import GPU_MODE_LABEL, nvidia_objects, simulator_objects
from llmprov.manifests.podspec import containers, pod_spec
from llmprov.manifests.render import Manifest, dump
from tests.golden.review import reviewed

DIGEST = "sha256:" + "0" * 64
CASES: dict[str, tuple[Manifest, ...]] = {
    "gpu-simulated": simulator_objects(f"llmprov.internal/gpu-simulator@{DIGEST}"),
    "gpu-real": nvidia_objects(
        f"nvcr.io/nvidia/k8s-device-plugin@{DIGEST}", f"nvcr.io/nvidia/k8s/dcgm-exporter@{DIGEST}"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rendered_objects_are_the_reviewed_ones(name: str) -> None:
    reviewed(f"{name}.yaml", dump(CASES[name]))


@pytest.mark.parametrize(("name", "mode"), [("gpu-simulated", "simulated"), ("gpu-real", "real")])
def test_pods_run_only_where_the_gpus_are_of_their_mode(name: str, mode: str) -> None:
    specs = [pod_spec(item) for item in CASES[name] if item["kind"] == "DaemonSet"]
    assert specs
    assert [spec["nodeSelector"] for spec in specs] == [{GPU_MODE_LABEL: mode}] * len(specs)


@pytest.mark.parametrize("name", CASES)
def test_pods_are_bounded_and_reach_no_api(name: str) -> None:
    for item in CASES[name]:
        if item["kind"] == "DaemonSet":
            assert pod_spec(item)["automountServiceAccountToken"] is False
    for container in containers(CASES[name]):
        assert str(container["image"]).endswith(DIGEST)
        assert container["resources"]["limits"]["memory"]  # type: ignore[index]


def test_the_simulator_has_root_s_files_but_no_capability() -> None:
    (container,) = containers(CASES["gpu-simulated"])
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_another_resource_lets_two_plugins_live_on_one_node() -> None:
    (container,) = containers(simulator_objects(f"i@{DIGEST}", resource="llmprov.io/simgpu"))
    assert container["args"] == ["-resource=llmprov.io/simgpu"]
