"""Revisions, their undoing and who says how many replicas there are, on a real API server."""

from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from llmprov.cluster.apply import apply_set
from llmprov.cluster.client import Cluster, Object
from llmprov.cluster.objects import DEPLOYMENT, Header
from llmprov.cluster.workloads import Deployment
from llmprov.errors import ClusterError
from llmprov.inventory import ModelSpec
from llmprov.manifests.model import NAMESPACE, ModelInputs, QuotaInputs, model_objects, namespace_objects
from llmprov.progress import NullProgress
from llmprov.workflows import rollout, rollout_replicas

DIGEST = "sha256:" + "0" * 64
QUOTA = QuotaInputs(replicas=4, gpus=4, memory=None)


def inputs(name: str, replicas: int | None = 1, **env: str) -> ModelInputs:
    images = {"engine_image": f"e@{DIGEST}", "weights_image": f"w@{DIGEST}"}
    return ModelInputs(name=name, served_name=name, replicas=replicas, env=env, **images)


def spec(name: str, replicas: object = 1) -> ModelSpec:
    return ModelSpec.model_validate({"name": name, "source": {"artifact": "a"}, "replicas": replicas})


def deploy(cluster: Cluster, wanted: ModelInputs) -> Object:
    objects = (*namespace_objects(QUOTA), *model_objects(wanted))
    apply_set(cluster, f"set-{wanted.name}", objects, NullProgress())
    return live(cluster, wanted.name)


def live(cluster: Cluster, name: str) -> Object:
    found = cluster.get(DEPLOYMENT, name, NAMESPACE)
    assert found is not None
    return found


def replicas(cluster: Cluster, name: str) -> int:
    return Deployment.model_validate(live(cluster, name)).spec.replicas


def environment(item: Object) -> Sequence[Mapping[str, str]]:
    template = cast("Mapping[str, Mapping[str, Mapping[str, Sequence[Mapping[str, object]]]]]", item["spec"])[
        "template"
    ]
    return cast("Sequence[Mapping[str, str]]", template["spec"]["containers"][0]["env"])


def revision(cluster: Cluster, wanted: ModelInputs, model: ModelSpec) -> rollout.Revision:
    (found,) = rollout.revisions(cluster, [(model, wanted)], take_over=False)
    return found


def test_only_another_template_is_another_revision(cluster: Cluster) -> None:
    assert revision(cluster, inputs("r1"), spec("r1")).changed
    deploy(cluster, inputs("r1"))
    version = Header.model_validate(live(cluster, "r1")).metadata.resource_version
    assert not revision(cluster, inputs("r1"), spec("r1")).changed
    assert not revision(cluster, inputs("r1", replicas=3), spec("r1", 3)).changed
    assert revision(cluster, inputs("r1", A="1"), spec("r1")).changed
    assert Header.model_validate(live(cluster, "r1")).metadata.resource_version == version


def test_a_revision_that_the_api_refuses_is_refused_before_anything_changes(cluster: Cluster) -> None:
    deploy(cluster, inputs("r2"))
    wrong = inputs("r2").model_copy(update={"shared_memory": "much"})
    with pytest.raises(ClusterError, match="quantities must match"):
        revision(cluster, wrong, spec("r2"))


def test_undoing_restores_the_template_and_leaves_no_conflict(cluster: Cluster) -> None:
    before = deploy(cluster, inputs("r3", A="good"))
    after = deploy(cluster, inputs("r3", A="bad"))
    cluster.apply(rollout.restored(before, after), force=True)
    now = live(cluster, "r3")
    assert environment(now) == environment(before)
    assert environment(now) != environment(after)
    assert not revision(cluster, inputs("r3", A="good"), spec("r3")).changed
    deploy(cluster, inputs("r3", A="next"))
    assert {"name": "A", "value": "next"} in environment(live(cluster, "r3"))


def test_the_autoscaler_takes_the_number_over_without_a_dip(cluster: Cluster) -> None:
    deploy(cluster, inputs("r4", replicas=3))
    wanted, model = inputs("r4", replicas=None), spec("r4", {"min": 1, "max": 4})
    item = revision(cluster, wanted, model)
    assert rollout.owns_replicas(live(cluster, "r4"))
    rollout_replicas.before_apply(cluster, item)
    deploy(cluster, wanted)
    rollout_replicas.after_apply(cluster, item)
    assert replicas(cluster, "r4") == 3
    assert not rollout.owns_replicas(live(cluster, "r4"))
    cluster.merge(DEPLOYMENT, "r4", {"spec": {"replicas": 2}}, namespace=NAMESPACE, subresource="scale")
    assert (
        apply_set(cluster, "set-r4", [*namespace_objects(QUOTA), *model_objects(wanted)], NullProgress()).changes == 0
    )
    assert replicas(cluster, "r4") == 2


def test_a_new_model_starts_with_its_least_number(cluster: Cluster) -> None:
    wanted, model = inputs("r5", replicas=None), spec("r5", {"min": 2, "max": 4})
    item = rollout.Revision(model, wanted, None, changed=True)
    deploy(cluster, wanted)
    rollout_replicas.after_apply(cluster, item)
    assert replicas(cluster, "r5") == 2
    deploy(cluster, wanted)
    assert replicas(cluster, "r5") == 2
