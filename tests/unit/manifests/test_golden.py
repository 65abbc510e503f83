"""The rendered objects, reviewed as files. `LLMPROV_UPDATE_GOLDEN=1 pytest tests/unit/manifests` writes them anew."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from llmprov.manifests.model import ModelInputs, Strategy, model_objects, namespace_objects, strategy
from llmprov.manifests.network import NetworkInputs, network_objects
from llmprov.manifests.render import Manifest, dump

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
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
    strategy=strategy(gpus=1, replicas=1, spare_gpus=1),
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
    strategy=strategy(gpus=4, replicas=6, spare_gpus=0),
)
CASES: dict[str, Sequence[Manifest]] = {
    "network-host-gw": network("host-gw"),
    "network-vxlan": network("vxlan"),
    "model-lab": (*namespace_objects(), *model_objects(LAB)),
    "model-production": model_objects(PRODUCTION),
}


@pytest.mark.parametrize("name", CASES)
def test_rendered_objects_are_the_reviewed_ones(name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    text = dump(CASES[name])
    if os.environ.get("LLMPROV_UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_values_cannot_break_out_of_their_place() -> None:
    hostile = 'x"\n  privileged: true # {{ 7 * 7 }}'
    objects = model_objects(LAB.model_copy(update={"env": {"A": hostile}}))
    container = objects[-1]["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index]
    assert {"name": "A", "value": hostile} in container["env"]


def test_a_rollout_never_waits_for_a_gpu_that_only_it_could_free() -> None:
    drain_first = Strategy(max_surge=0, max_unavailable=1)
    surge = Strategy(max_surge=1, max_unavailable=0)
    assert strategy(gpus=4, replicas=2, spare_gpus=3) == drain_first
    assert strategy(gpus=4, replicas=2, spare_gpus=4) == surge
    assert strategy(gpus=0, replicas=1, spare_gpus=0) == surge
