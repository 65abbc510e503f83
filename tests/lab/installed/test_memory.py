"""What the services beside the models cost, as the kubelets count it."""

import json

import pytest
from rich.console import Console

from llmprov.cluster.room import quantity
from tests.lab.conftest import KUBECTL, Installed, Lab
from tests.lab.polling import until

pytestmark = pytest.mark.lab
MEBIBYTE = 1 << 20
NAMESPACES = ("llmprov-monitoring", "llmprov-gateway", "llmprov-autoscaling")
LIMIT = 1500 * 1_000_000


def test_monitoring_gateway_and_autoscaler_fit(installed: Installed) -> None:
    """Their working sets together; the tests before this one sent load through all of them."""
    lab = installed.lab
    until(
        lambda: all(measured(lab, name).keys() == running(lab, name) for name in NAMESPACES),
        seconds=120,
        what="a reading",
    )
    used = {name: measured(lab, name) for name in NAMESPACES}
    Console().print(
        {name: {pod: f"{size / MEBIBYTE:.0f} MiB" for pod, size in pods.items()} for name, pods in used.items()}
    )
    assert all(pods and all(pods.values()) for pods in used.values())
    assert 0 < sum(size for pods in used.values() for size in pods.values()) < LIMIT


def running(lab: Lab, namespace: str) -> set[str]:
    """Return the names of the namespace's running pods."""
    found = lab.ssh("cp1", f"{KUBECTL} -n {namespace} get pods --field-selector=status.phase=Running -o name")
    return {line.removeprefix("pod/") for line in found.split()}


def measured(lab: Lab, namespace: str) -> dict[str, int]:
    """Return the working set of the namespace's pods, in bytes, by name."""
    found = lab.ssh("cp1", f"{KUBECTL} get --raw /apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods")
    return {
        item["metadata"]["name"]: sum(quantity(container["usage"]["memory"]) for container in item["containers"])
        for item in json.loads(found)["items"]
    }
