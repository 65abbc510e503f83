"""Which images are staged, and what systemd says of their pulls."""

import pytest

from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.bundle.push import CORE_IMAGES
from llmprov.errors import BundleError
from llmprov.inventory import ModelSource, ModelSpec
from llmprov.workflows.install_images import parse, staged_images

DIGEST = "ab" * 32
ENGINE, WEIGHTS = f"docker.io/vllm/vllm-openai@sha256:{DIGEST}", f"llmprov.internal/models/m@sha256:{DIGEST}"
SHOWN = f"""\
now=1795369600.000000000
{ENGINE} 1795369455.500000000 1795369520.750000000
{ENGINE} 1795369522.000000000 1795369522.100000000
{WEIGHTS} 1795369522.100000000 1795369523.200000000
"""


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


def test_pulls_are_read_and_the_longest_of_an_image_counts() -> None:
    engine, weights = parse("gpu1", SHOWN, within=300)
    assert (engine.host, engine.image, engine.seconds) == ("gpu1", ENGINE, 65.25)
    assert (weights.image, weights.seconds) == (WEIGHTS, 1.1)


def test_pulls_of_an_earlier_run_are_left_out() -> None:
    began = 144.5  # the first pull began so many seconds before the host's clock showed its time
    assert [pulled.seconds for pulled in parse("gpu1", SHOWN, within=began)] == [65.25, 1.1]
    assert [pulled.seconds for pulled in parse("gpu1", SHOWN, within=began - 0.1)] == [0.1, 1.1]


def test_what_a_login_prints_is_not_taken_for_a_pull() -> None:
    assert parse("gpu1", f"Welcome to gpu1\nlast login yesterday\n{SHOWN}", within=300) == parse(
        "gpu1", SHOWN, within=300
    )


def test_a_host_that_tells_no_time_is_left_out() -> None:
    assert parse("gpu1", "sh: date: not found\n", within=300) == ()
    assert parse("gpu1", SHOWN.replace("now=", ""), within=300) == ()


@pytest.mark.parametrize("line", ["", f"{ENGINE} 17953", f"{ENGINE} 1795369455.5 "], ids=["none", "cut", "not ended"])
def test_a_host_that_has_pulled_nothing_tells_of_nothing(line: str) -> None:
    assert parse("gpu1", f"now=1795369600.0\n{line}", within=300) == ()


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
