"""Packs a model into an image: a layer per shard, so that shards are pulled side by side and shared by versions."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llmprov.bundle.oci import Compression, Descriptor, ImageConfig, Layer, TarEntry, tar_layer, write_image
from llmprov.bundle.store import Blob, BlobStore
from llmprov.progress import Step
from llmprov.workflows.weights import ModelFile, ModelFiles

# A file of this size is a shard and gets a layer; smaller ones share one.
_SHARD = 64 << 20
# An image volume is one overlay mount, and the kernel reads its list of layers from a single page.
_MOST_LAYERS = 100
_SAMPLE = 4 << 20
_WORTH = 0.6
"""zstd is used for what it makes smaller than this; it unpacks on one core, which is slower than a fast network."""


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """Files that become one layer, and how it is compressed."""

    files: tuple[ModelFile, ...]
    compression: Compression

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.size for file in self.files)

    @property
    def key(self) -> str:
        """What the layer depends on: the same key gives the same layer, as long as nobody forges modification times."""
        parts = [[file.path, str(file.source), file.size, file.source.stat().st_mtime_ns] for file in self.files]
        return json.dumps([self.compression, parts])


@dataclass(frozen=True, slots=True)
class PackedModel:
    """An image in the store, and its layers."""

    descriptor: Descriptor
    layers: tuple[Layer, ...]


def plan(files: ModelFiles) -> tuple[PlannedLayer, ...]:
    """Decide which files go into which layer.

    Small files first, then a layer per shard; a model of more shards than an image can have layers gets several in one.
    """
    shards = [file for file in files.files if file.size >= _SHARD]
    small = tuple(file for file in files.files if file.size < _SHARD)
    per_layer = -(-len(shards) // _MOST_LAYERS) or 1
    groups = [tuple(shards[start : start + per_layer]) for start in range(0, len(shards), per_layer)]
    return tuple(PlannedLayer(group, compression(group)) for group in ([small] if small else []) + groups)


def compression(files: Sequence[ModelFile]) -> Compression:
    """Measure on samples of the largest file whether zstd makes a layer much smaller."""
    largest = max(files, key=lambda file: file.size)
    if largest.size == 0:
        return "none"
    sample = _sample(largest)
    done = subprocess.run(["zstd", "-3", "-q", "-c"], input=sample, stdout=subprocess.PIPE, check=True)
    return "zstd" if len(done.stdout) <= _WORTH * len(sample) else "none"


def pack(store: BlobStore, layers: Sequence[PlannedLayer], memory: Path, step: Step) -> PackedModel:
    """Write a model's image into the store.

    Args:
        store: takes layers, configuration and manifest.
        layers: from `plan`.
        memory: a file that remembers finished layers, so that an interrupted push does not read them again.
        step: told how far it is, in bytes.
    """
    known = _remembered(memory)
    total, done = sum(layer.size for layer in layers), 0
    packed: list[Layer] = []
    for planned in layers:
        step.update(f"{len(packed) + 1} of {len(layers)} layers", done=done, total=total)
        layer = known.get(planned.key)
        if layer is None or not store.has(layer.blob.sha256, layer.blob.size):
            entries = [TarEntry(file.path, source=file.source, mode=0o444) for file in planned.files]
            layer = tar_layer(store, entries, compression=planned.compression)
            known[planned.key] = layer
            _remember(memory, known)
        packed.append(layer)
        done += planned.size
    step.update("", done=total, total=total)
    return PackedModel(write_image(store, packed, ImageConfig()), tuple(packed))


def _sample(file: ModelFile) -> bytes:
    """Pieces from the beginning, the middle and the end: headers compress well and say nothing of the rest."""
    with file.source.open("rb") as opened:
        if file.size <= 3 * _SAMPLE:
            return opened.read()
        pieces = []
        for place in (0, file.size // 2, file.size - _SAMPLE):
            opened.seek(place)
            pieces.append(opened.read(_SAMPLE))
        return b"".join(pieces)


def _remembered(memory: Path) -> dict[str, Layer]:
    try:
        stored = json.loads(memory.read_text(encoding="utf-8"))
        return {
            key: Layer(Blob(**value["blob"]), value["media_type"], value["diff_id"]) for key, value in stored.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # only costs reading the files again


def _remember(memory: Path, layers: dict[str, Layer]) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    temporary = memory.with_suffix(".new")
    temporary.write_text(json.dumps({key: asdict(layer) for key, layer in layers.items()}), encoding="utf-8")
    temporary.replace(memory)
