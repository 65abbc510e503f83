"""Third-party add-ons: what the helpers change, what they leave alone, and what they refuse."""

from copy import deepcopy
from pathlib import Path

import pytest

from llmprov.errors import BundleError
from llmprov.manifests import addon
from llmprov.manifests.podspec import containers, pod_spec
from llmprov.manifests.render import Manifest

PINNED = "registry.example.org/operator@sha256:" + "0" * 64
CHART = """
apiVersion: v1
kind: Namespace
metadata: {name: keda}
---
# a comment between documents
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: ServiceAccount, metadata: {name: operator, namespace: keda}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.org}
spec: {group: example.org, names: {kind: Thing}, namespace: keda}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: auth-reader, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, name: operator, namespace: keda}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.external.metrics.k8s.io}
spec:
  service: {name: adapter, namespace: keda}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator, namespace: keda}
spec:
  template:
    spec:
      securityContext: {fsGroup: 7}
      tolerations: [{key: other, operator: Exists}]
      initContainers: [{name: first, image: "example.org/init:1"}]
      containers:
        - name: operator
          image: example.org:5000/operator:2.0@sha256:abc
          imagePullPolicy: Always
          args: [--leader-elect, --level=info, --url=https://adapter.keda.svc/x]
          resources: {limits: {cpu: 1000m}}
"""
IMAGES = {"example.org:5000/operator": PINNED, "example.org/init": PINNED}


@pytest.fixture
def chart(tmp_path: Path) -> addon.Objects:
    path = tmp_path / "chart.yaml"
    path.write_text(CHART)
    return addon.load(path)


def pod(objects: addon.Objects) -> Manifest:
    return pod_spec(addon.find(objects, "Deployment", "operator"))


def box(objects: addon.Objects, name: str = "operator") -> Manifest:
    return next(item for item in containers(objects) if item["name"] == name)


def test_all_documents_are_read_and_lists_opened(chart: addon.Objects) -> None:
    kinds = [item["kind"] for item in chart]
    assert kinds == [
        "Namespace",
        "ServiceAccount",
        "CustomResourceDefinition",
        "RoleBinding",
        "APIService",
        "Deployment",
    ]


@pytest.mark.parametrize("text", ["a: [", "just text", "{kind: Pod}", "- 1"])
def test_what_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(BundleError, match=r"broken\.yaml"):
        addon.load(path)


def test_no_helper_changes_what_it_is_given(chart: addon.Objects) -> None:
    before = deepcopy(chart)
    changed = addon.with_images(chart, IMAGES)
    changed = addon.with_resources(changed, "operator", requests={"cpu": "1m"}, limits={})
    changed = addon.placed(addon.hardened(addon.with_arguments(changed, "operator", "--x"), user=5))
    changed = addon.in_namespace(changed, "new", was="keda")
    addon.patched(changed, "Deployment", "operator", {"spec": {"replicas": 2, "template": None}})
    assert chart == before
    assert changed != before


def test_images_are_replaced_whatever_their_tag_or_port(chart: addon.Objects) -> None:
    changed = addon.with_images(chart, IMAGES)
    assert {item["image"] for item in containers(changed)} == {PINNED}
    assert box(changed)["imagePullPolicy"] == "IfNotPresent"


def test_an_image_that_nothing_pins_or_uses_is_an_error(chart: addon.Objects) -> None:
    with pytest.raises(BundleError) as caught:
        addon.with_images(chart, {"example.org/init": PINNED, "example.org/old": PINNED})
    assert caught.value.details == (
        "nothing replaces example.org:5000/operator of container operator",
        "no container has an image example.org/old",
    )


def test_resources_are_set_whole_and_for_one_container(chart: addon.Objects) -> None:
    changed = addon.with_resources(chart, "operator", requests={"cpu": "10m"}, limits={"memory": "64Mi"})
    assert box(changed)["resources"] == {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}
    assert "resources" not in box(changed, "first")


def test_an_argument_replaces_the_same_flag(chart: addon.Objects) -> None:
    changed = addon.with_arguments(chart, "operator", "--level=error", "--new")
    assert box(changed)["args"] == ["--leader-elect", "--url=https://adapter.keda.svc/x", "--level=error", "--new"]


def test_a_container_that_is_not_there_is_an_error(chart: addon.Objects) -> None:
    with pytest.raises(BundleError, match="no container adapter") as caught:
        addon.with_arguments(chart, "adapter", "--x")
    assert caught.value.details == ("it has: first, operator",)


def test_pods_are_restricted_and_keep_their_own_settings(chart: addon.Objects) -> None:
    changed = addon.hardened(chart, user=65532)
    assert pod(changed)["securityContext"] == {
        "fsGroup": 7,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for item in containers(changed):
        assert item["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
        }
    assert "runAsUser" not in pod(addon.hardened(chart)).get("securityContext", {})  # type: ignore[operator]


def test_pods_prefer_nodes_without_gpus_and_tolerate_the_control_plane(chart: addon.Objects) -> None:
    spec = pod(addon.placed(chart))
    expression = {"key": "llmprov.io/gpu-mode", "operator": "DoesNotExist"}
    assert spec["affinity"] == {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": {"matchExpressions": [expression]}}
            ]
        }
    }
    assert spec["tolerations"] == [
        {"key": "other", "operator": "Exists"},
        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
    ]


def test_a_namespace_is_changed_wherever_it_is_named(chart: addon.Objects) -> None:
    changed = addon.in_namespace(chart, "llmprov-autoscaling", was="keda")
    assert "Namespace" not in {item["kind"] for item in changed}
    binding = addon.find(changed, "RoleBinding", "auth-reader")
    assert binding["metadata"] == {"name": "auth-reader", "namespace": "kube-system"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "operator", "namespace": "llmprov-autoscaling"}]
    service = addon.find(changed, "APIService", "v1beta1.external.metrics.k8s.io")
    assert service["spec"] == {"service": {"name": "adapter", "namespace": "llmprov-autoscaling"}}
    assert "--url=https://adapter.llmprov-autoscaling.svc/x" in str(box(changed)["args"])
    crd = addon.find(changed, "CustomResourceDefinition", "things.example.org")
    assert crd is addon.find(chart, "CustomResourceDefinition", "things.example.org")


def test_objects_are_left_out_by_kind_name_and_group(chart: addon.Objects) -> None:
    assert len(addon.without(chart, "Deployment")) == len(chart) - 1
    assert len(addon.without(chart, "APIService", "v1beta1.external.metrics.k8s.io")) == len(chart) - 1
    assert "CustomResourceDefinition" not in {item["kind"] for item in addon.without_crds(chart, "example.org")}
    assert len(addon.without_crds(chart, "other.org")) == len(chart)
    with pytest.raises(BundleError, match="no Deployment other") as caught:
        addon.without(chart, "Deployment", "other")
    assert caught.value.details == ("Deployment it has: operator",)


def test_a_patch_merges_and_deletes(chart: addon.Objects) -> None:
    patch = {"metadata": {"labels": {"a": "b"}}, "subjects": None, "roleRef": {"name": "other"}}
    binding = addon.find(addon.patched(chart, "RoleBinding", "auth-reader", patch), "RoleBinding", "auth-reader")
    assert binding["metadata"] == {"name": "auth-reader", "namespace": "kube-system", "labels": {"a": "b"}}
    assert "subjects" not in binding
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "other"}


def test_pods_of_a_cron_job_are_found() -> None:
    job: Manifest = {
        "kind": "CronJob",
        "metadata": {"name": "nightly"},
        "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b.c/d"}]}}}}},
    }
    (changed,) = addon.with_images((job,), {"b.c/d": PINNED})
    assert containers((changed,))[0]["image"] == PINNED
