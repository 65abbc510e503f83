"""Which images are staged, and what systemd says of their pulls."""

import pytest

from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.bundle.push import CORE_IMAGES
from llmprov.errors import BundleError
from llmprov.inventory import ModelSource, ModelSpec
from llmprov.workflows.install_images import parse, staged_images

DIGEST = "ab" * 32
SHOWN = f"""\
now=1795369600.000000000
ExecStart={{ path=/usr/local/bin/crictl ; argv[]=/usr/local/bin/crictl pull docker.io/vllm/vllm-openai@sha256:{DIGEST} ; ignore_errors=no ; start_time=[Sun 2026-11-22 17:44:15.500000 UTC] ; stop_time=[Sun 2026-11-22 17:45:20.750000 UTC] ; pid=65 ; code=exited ; status=0 }}
ExecStart={{ path=/usr/local/bin/crictl ; argv[]=/usr/local/bin/crictl pull llmprov.internal/models/m@sha256:{DIGEST} ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }}
"""  # noqa: E501 - systemd's own lines


def _image(name: str, ref: str) -> LockedArtifact:
    return LockedArtifact(
        kind="image", name=name, version="1", source="s", sha256=DIGEST, size=1, licence="Apache-2.0", ref=ref
    )


LOCK = BundleLock.of(
    "registries",
    (
        _image("vllm", "docker.io/vllm/vllm-openai:v1"),
        _image("smol", "llmprov.internal/models/smol:1"),
        _image("etcd", "e:1"),
    ),
)


def test_pulls_that_ended_are_read() -> None:
    (pulled,) = parse("gpu1", SHOWN, within=300)
    assert (pulled.host, pulled.seconds) == ("gpu1", 65.25)
    assert pulled.image == f"docker.io/vllm/vllm-openai@sha256:{DIGEST}"


def test_pulls_of_an_earlier_run_are_left_out() -> None:
    began = 144.5  # the pull began so many seconds before the host's clock showed `now`
    assert len(list(parse("gpu1", SHOWN, within=began))) == 1
    assert list(parse("gpu1", SHOWN, within=began - 0.1)) == []


def test_a_host_that_tells_no_time_is_left_out() -> None:
    assert list(parse("gpu1", "sh: systemctl: not found\n", within=300)) == []


@pytest.mark.parametrize(
    "source",
    [ModelSource(artifact="smol"), ModelSource(image="llmprov.internal/models/smol:1")],
    ids=["name", "reference"],
)
def test_engine_and_weights_are_staged_once_engine_first(source: ModelSource) -> None:
    models = [ModelSpec(name="a", source=source), ModelSpec(name="b", source=source)]
    staged = staged_images(models, LOCK)
    assert staged.push_order == ("vllm", *CORE_IMAGES, "smol")
    assert staged.references == (
        f"docker.io/vllm/vllm-openai@sha256:{DIGEST}",
        f"llmprov.internal/models/smol@sha256:{DIGEST}",
    )


def test_an_image_outside_the_bundle_is_left_to_its_pod() -> None:
    model = ModelSpec(name="a", source=ModelSource(image="llmprov.internal/models/pushed:1"))
    assert staged_images([model], LOCK).push_order == ("vllm", *CORE_IMAGES)


def test_a_name_that_the_bundle_lacks_is_an_error() -> None:
    model = ModelSpec(name="a", source=ModelSource(artifact="smoll"))
    with pytest.raises(BundleError, match="did you mean 'smol'"):
        staged_images([model], LOCK)
