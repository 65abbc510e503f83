import json
import os
import shutil
import sys
import tarfile
import types
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from llmprov.bundle.store import BlobStore
from llmprov.errors import BundleError, ModelError
from llmprov.inventory import Inventory
from llmprov.progress import NullProgress, NullStep
from llmprov.workflows import model_image, model_push
from llmprov.workflows.model_image import pack, plan
from llmprov.workflows.model_push import push
from llmprov.workflows.weights import ModelFile, ModelFiles, inspect
from tests.unit.bundle.servers import Registry
from tests.unit.models.conftest import safetensors


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_image, "_SHARD", 150)


@pytest.fixture
def inventory(make_inventory: Callable[..., Inventory], registry: Registry) -> Inventory:
    return make_inventory(push_port=int(registry.url.rpartition(":")[2]))


def members(registry: Registry, digest: str) -> list[str]:
    data = registry.blobs["llmprov.internal/models/m", digest]
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        return archive.getnames()


def test_a_layer_per_shard_and_one_for_the_rest(
    inventory: Inventory, registry: Registry, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_image, "_WORTH", 0.0)
    safetensors(weights / "model-00001-of-00002.safetensors", size=512)
    pushed = push(inventory, str(weights), "m", "v1", NullProgress())
    media_type, manifest = registry.manifests["llmprov.internal/models/m", "v1"]
    assert media_type == "application/vnd.oci.image.manifest.v1+json"
    layers = [layer["digest"] for layer in json.loads(manifest)["layers"]]
    contents = sorted(members(registry, digest) for digest in layers)
    assert sorted(name for names in contents for name in names) == sorted(path.name for path in weights.iterdir())
    assert ["model-00001-of-00002.safetensors"] in contents
    assert (pushed.layers, pushed.compressed) == (len(layers), 0)
    assert pushed.reference.startswith("llmprov.internal/models/m@sha256:")
    assert pushed.sent > 0


def test_the_second_push_sends_nothing(inventory: Inventory, weights: Path) -> None:
    first = push(inventory, str(weights), "m", "latest", NullProgress())
    second = push(inventory, str(weights), "m", "latest", NullProgress())
    assert second.reference == first.reference
    assert second.sent == 0


def test_the_controller_keeps_no_second_copy(inventory: Inventory, weights: Path, tmp_path: Path) -> None:
    safetensors(weights / "model-00001-of-00002.safetensors", size=100_000)
    push(inventory, str(weights), "m", "latest", NullProgress())
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert kept < 10_000


def test_an_interrupted_push_goes_on_without_reading_again(
    inventory: Inventory, registry: Registry, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.fail_with = 500
    monkeypatch.setattr("llmprov.bundle.push._BACKOFF", 0.001)
    with pytest.raises(BundleError):
        push(inventory, str(weights), "m", "latest", NullProgress())
    registry.fail_with = 0

    def forbidden(*_: object, **__: object) -> None:
        pytest.fail("a layer was packed again")

    monkeypatch.setattr(model_image, "tar_layer", forbidden)
    assert push(inventory, str(weights), "m", "latest", NullProgress()).sent > 0


def test_a_changed_file_is_packed_again(weights: Path, tmp_path: Path) -> None:
    store, memory = BlobStore(tmp_path / "blobs"), tmp_path / "memory.json"
    first = pack(store, plan(inspect(weights)), memory, NullStep())
    (weights / "config.json").write_text('{"a": 1}')
    second = pack(store, plan(inspect(weights)), memory, NullStep())
    assert first.descriptor.digest != second.descriptor.digest
    memory.write_text("garbage")
    assert pack(store, plan(inspect(weights)), memory, NullStep()).descriptor == second.descriptor


def test_blobs_of_the_bundle_that_are_the_same_stay(inventory: Inventory, weights: Path, tmp_path: Path) -> None:
    bundles = BlobStore(tmp_path / "cache" / "blobs")
    image = pack(bundles, plan(inspect(weights)), tmp_path / "memory.json", NullStep())
    push(inventory, str(weights), "m", "latest", NullProgress())
    assert all(bundles.has(layer.blob.sha256, layer.blob.size) for layer in image.layers)


def test_the_disk_of_the_registrys_own_directory_counts(
    make_inventory: Callable[..., Inventory], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = make_inventory()
    first, *others = inventory.hosts
    moved = first.model_copy(update={"variables": {**first.variables, "registry_data_dir": "/srv/registry"}})
    asked: list[str] = []

    def free_bytes(_: object, path: str) -> int:
        asked.append(path)
        return 1 << 60

    monkeypatch.setattr(model_push, "free_bytes", free_bytes)
    model_push.check_disks(inventory.model_copy(update={"hosts": (moved, *others)}), inspect(weights))
    assert asked == ["/var/lib/containerd", "/srv/registry"]


def files(tmp_path: Path, count: int) -> ModelFiles:
    source = tmp_path / "shard"
    source.write_bytes(os.urandom(200))
    return ModelFiles(tuple(ModelFile(f"{n:04}.safetensors", source, 200, weights=True) for n in range(count)), ())


def test_more_shards_than_an_image_can_have_layers(tmp_path: Path) -> None:
    assert len(plan(files(tmp_path, 100))) == 100
    many = plan(files(tmp_path, 250))
    assert len(many) == 84
    assert sum(len(layer.files) for layer in many) == 250


def test_only_what_shrinks_much_is_compressed(tmp_path: Path) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("no zstd on this machine")
    noise, zeros, empty = tmp_path / "noise", tmp_path / "zeros", tmp_path / "empty"
    noise.write_bytes(os.urandom(100_000))
    zeros.write_bytes(bytes(100_000))
    empty.touch()
    chosen = {
        path.name: model_image.compression((ModelFile("f", path, path.stat().st_size, weights=True),))
        for path in (noise, zeros, empty)
    }
    assert chosen == {"noise": "none", "zeros": "zstd", "empty": "none"}


def test_a_model_larger_than_the_disks_names_each_host_and_sends_nothing(
    inventory: Inventory, registry: Registry, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_push, "_RESERVE", 1 << 60)
    with pytest.raises(ModelError, match="does not fit on 2 of 2 hosts") as caught:
        push(inventory, str(weights), "m", "latest", NullProgress())
    assert any(line.startswith("gpu1: ") and "needed" in line for line in caught.value.details)
    assert any(line.startswith("cp1: ") for line in caught.value.details)
    assert registry.log == []


def test_a_host_that_cannot_tell_its_disk(inventory: Inventory) -> None:
    host = inventory.host("gpu1")
    assert model_push.free_bytes(host, "/no/such/directory") > 0
    program = Path(os.environ["PATH"].split(":")[0], "df")
    program.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(ModelError, match="gpu1: cannot tell") as caught:
        model_push.free_bytes(host, "/")
    assert caught.value.details == ("broken",)


def test_the_controllers_own_disk_is_checked(
    inventory: Inventory, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1))
    with pytest.raises(ModelError, match="packing needs"):
        push(inventory, str(weights), "m", "latest", NullProgress())


def test_a_hub_name_without_the_hubs_package(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_push, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="huggingface_hub") as caught:
        push(inventory, "hf:org/model", "m", "latest", NullProgress())
    assert "pip install" in caught.value.remedy


def test_a_hub_download(inventory: Inventory, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(*, repo_id: str, revision: str | None) -> str:
        asked.append((repo_id, revision))
        if repo_id == "org/gone":
            raise RuntimeError("404 Client Error\nmore")
        return str(weights)

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setattr(model_push, "find_spec", lambda _: True)
    push(inventory, "hf:org/model@v2", "m", "latest", NullProgress())
    assert asked == [("org/model", "v2")]
    with pytest.raises(ModelError, match=r"404 Client Error$"):
        push(inventory, "hf:org/gone", "m", "latest", NullProgress())
