"""The rendered objects, reviewed as files. `LLMPROV_UPDATE_GOLDEN=1 pytest tests/unit/manifests` writes them anew."""

from collections.abc import Sequence

import pytest

from llmprov.manifests.autoscaling import AutoscalerInputs, autoscaler_objects
from llmprov.manifests.model import DRAIN_FIRST, NAMESPACE, ModelInputs, QuotaInputs, model_objects, namespace_objects
from llmprov.manifests.network import NetworkInputs, network_objects
from llmprov.manifests.prepull import PrepullInputs, pod_name, prepull_pod
from llmprov.manifests.render import Manifest, dump
from tests.golden.review import reviewed

DIGEST = "sha256:" + "0" * 64


def network(backend: str) -> tuple[Manifest, ...]:
    return network_objects(
        NetworkInputs.model_validate(
            {"image": f"llmprov.internal/flannel@{DIGEST}", "pod_cidr": "10.244.0.0/16", "backend": backend}
        )
    )


LAB = ModelInputs(
    name="smollm2",
    served_name="smollm2",
    engine_image=f"llmprov.internal/vllm-cpu@{DIGEST}",
    weights_image=f"llmprov.internal/models/smollm2-135m-instruct@{DIGEST}",
    args=("--enforce-eager",),
    env={"VLLM_CPU_KVCACHE_SPACE": "1"},
    max_model_len=2048,
    drain_seconds=20,
    replicas=None,
    max_replicas=2,
)
PRODUCTION = ModelInputs(
    name="llama-70b",
    served_name="meta-llama/Llama-3.3-70B-Instruct",
    engine_image=f"docker.io/vllm/vllm-openai@{DIGEST}",
    weights_image=f"llmprov.internal/models/llama-70b@{DIGEST}",
    gpus=4,
    replicas=6,
    memory="256Gi",
    shared_memory="16Gi",
    strategy=DRAIN_FIRST,
)
QUOTA = QuotaInputs(replicas=5, gpus=5, memory=25 << 30)
SCALER = AutoscalerInputs(
    name="smollm2", min_replicas=1, max_replicas=2, target_requests=4, kv_cache_percent=80, cooldown_seconds=90
)
PREPULL = PrepullInputs(
    name="smollm2",
    node="gpu1",
    engine_image=LAB.engine_image,
    weights_image=LAB.weights_image,
    seconds=3600,
)
CASES: dict[str, Sequence[Manifest]] = {
    "network-host-gw": network("host-gw"),
    "network-vxlan": network("vxlan"),
    "model-lab": (*namespace_objects(QUOTA), *model_objects(LAB), *autoscaler_objects(SCALER, NAMESPACE)),
    "model-production": model_objects(PRODUCTION),
    "model-prepull": (prepull_pod(PREPULL),),
}


@pytest.mark.parametrize("name", CASES)
def test_rendered_objects_are_the_reviewed_ones(name: str) -> None:
    reviewed(f"{name}.yaml", dump(CASES[name]))


def test_values_cannot_break_out_of_their_place() -> None:
    hostile = 'x"\n  privileged: true # {{ 7 * 7 }}'
    objects = model_objects(LAB.model_copy(update={"env": {"A": hostile}}))
    container = objects[-1]["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index]
    assert {"name": "A", "value": hostile} in container["env"]


def test_a_quota_without_memory_limits_no_memory() -> None:
    _, quota = namespace_objects(QuotaInputs(replicas=2, gpus=8, memory=None))
    hard = quota["spec"]["hard"]  # type: ignore[index]
    assert "limits.memory" not in hard
    assert hard["requests.nvidia.com/gpu"] == "16"


def test_names_of_pulls_are_short_and_differ() -> None:
    long = PREPULL.model_copy(update={"name": "m" * 63})
    other = long.model_copy(update={"node": "gpu2"})
    assert len(pod_name(long)) <= 63
    assert pod_name(long) != pod_name(other)
