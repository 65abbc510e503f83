"""Looks at a directory of weights before anything is packed: what is in it, and everything that is wrong with it."""

import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmprov.errors import ModelError
from llmprov.inventory.model_spec import DNS_LABEL

_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
# The same weights in formats of other frameworks; vLLM reads the safetensors beside them.
_DUPLICATES = frozenset({".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".tflite"})
_DESCRIPTIONS = ("config.json", "params.json")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file: its place in the model, where it lies (links resolved), and its size in bytes."""

    path: str
    source: Path
    size: int
    weights: bool


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What goes into a model's image, and what was left out."""

    files: tuple[ModelFile, ...]
    left_out: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def check_name(name: str) -> None:
    """Refuse a name that Kubernetes would refuse later."""
    if not re.fullmatch(DNS_LABEL, name):
        close = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63].strip("-")
        raise ModelError(
            f"{name!r} is not a DNS-1123 label: at most 63 lowercase letters, digits and inner hyphens",
            remedy=f"call it {close!r}" if close else "choose another name",
        )


def inspect(directory: Path) -> ModelFiles:
    """List a model's files and check that the weights are whole.

    Raises:
        ModelError: there are no weights, or some are damaged or missing; each finding is one line of the details.
    """
    if not directory.is_dir():
        raise ModelError(
            f"{directory} is not a directory", remedy="give the directory that holds config.json and the weights"
        )
    everything = tuple(_files(directory))
    weights = [file for file in everything if file.weights]
    if not weights:
        raise ModelError(
            f"{directory} holds no weights (*.safetensors, *.gguf, *.bin)",
            remedy="give the directory of a complete download: huggingface-cli download REPO --local-dir DIR",
            details=tuple(file.path for file in everything[:10]),
        )
    findings = (*_description(directory, weights), *_missing_shards(directory), *_damage(weights))
    if findings:
        raise ModelError(
            f"the model in {directory} is not whole: {len(findings)} findings",
            remedy="download the files named below again, then push again",
            details=findings,
        )
    return _without_duplicates(everything)


def _files(directory: Path) -> Iterator[ModelFile]:
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if any(part.startswith(".") for part in relative.parts) or path.is_dir():
            continue
        source = path.resolve()  # a download cache holds links into its blobs
        if source.is_file():
            yield ModelFile(relative.as_posix(), source, source.stat().st_size, path.suffix in _WEIGHTS)


def _description(directory: Path, weights: Sequence[ModelFile]) -> tuple[str, ...]:
    carries_its_own = any(file.path.endswith(".gguf") for file in weights)
    if carries_its_own or any((directory / name).is_file() for name in _DESCRIPTIONS):
        return ()
    return ("config.json: missing; vLLM reads the model's architecture from it",)


def _missing_shards(directory: Path) -> Iterator[str]:
    for index in sorted(directory.glob("*.index.json")):
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            yield f"{index.name}: is not an index of shards"
            continue
        # An index of a format that is not here at all is a leftover, as of a download that left *.bin out.
        present = {shard for shard in named if (directory / shard).is_file()}
        if present or index.name.startswith("model.safetensors"):
            yield from (f"{shard}: missing, named in {index.name}" for shard in sorted(named - present))


def _damage(weights: Sequence[ModelFile]) -> Iterator[str]:
    for file in weights:
        with file.source.open("rb") as opened:
            if opened.read(len(_LFS_POINTER)) == _LFS_POINTER:
                yield f"{file.path}: a Git LFS pointer of {file.size} bytes, not the weights (git lfs pull)"
            elif file.path.endswith(".safetensors") and (problem := safetensors_problem(file.source)):
                yield f"{file.path}: {problem}"


def safetensors_problem(path: Path) -> str:
    """Say what is wrong with a safetensors file, as far as its header and size tell; empty when nothing is.

    The format: 8 bytes little-endian length N, N bytes of JSON that gives each tensor's place, the tensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(_LENGTH.size)
        if len(prefix) < _LENGTH.size:
            return f"truncated: {size} bytes are no header"
        (length,) = _LENGTH.unpack(prefix)
        if length > min(_LONGEST_HEADER, size - _LENGTH.size):
            return f"broken header: its length is given as {length} bytes, the file has {size}"
        header = file.read(length)
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in json.loads(header).items() if name != "__metadata__"]
        expected = _LENGTH.size + length + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return "broken header: not a table of tensors"
    if size != expected:
        return f"{'truncated' if size < expected else 'too long'}: {size} bytes, its header says {expected}"
    return ""


def _without_duplicates(files: Sequence[ModelFile]) -> ModelFiles:
    if not any(file.path.endswith(".safetensors") for file in files):
        return ModelFiles(tuple(files), ())
    kept = tuple(file for file in files if Path(file.path).suffix not in _DUPLICATES)
    return ModelFiles(kept, tuple(file.path for file in files if file not in kept))
