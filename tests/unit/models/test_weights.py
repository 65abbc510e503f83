import json
import struct
from pathlib import Path

import pytest

from llmprov.errors import ModelError
from llmprov.workflows.weights import check_name, inspect, safetensors_problem
from tests.unit.models.conftest import safetensors


@pytest.mark.parametrize("name", ["a", "smollm2", "llama-3-70b", "a" * 63])
def test_good_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Llama_3", "llama-3"), ("-a", "a"), ("a.b", "a-b"), ("a\n", "a"), ("", "another"), ("a" * 64, "a" * 63)],
)
def test_bad_names_come_with_a_good_one(name: str, hint: str) -> None:
    with pytest.raises(ModelError, match="DNS-1123") as caught:
        check_name(name)
    assert hint in caught.value.remedy


def test_a_whole_model(weights: Path) -> None:
    found = inspect(weights)
    assert len(found.files) == 4
    assert found.left_out == ()
    assert found.size == sum(path.stat().st_size for path in weights.iterdir())


def test_links_of_a_download_cache_are_followed_and_hidden_files_left(weights: Path, tmp_path: Path) -> None:
    shard = weights / "model-00001-of-00002.safetensors"
    blob = shard.rename(tmp_path / "blob")
    shard.symlink_to(blob)
    (weights / ".cache").mkdir()
    (weights / ".cache" / "x.safetensors").write_text("no")
    (weights / "broken-link").symlink_to("nowhere")
    assert [file.source for file in inspect(weights).files if file.path == shard.name] == [blob]
    assert len(inspect(weights).files) == 4


def test_the_same_weights_in_another_format_are_left_out(weights: Path) -> None:
    (weights / "pytorch_model.bin").write_bytes(b"x" * 200)
    found = inspect(weights)
    assert found.left_out == ("pytorch_model.bin",)
    assert len(found.files) == 4


@pytest.mark.parametrize("content", [{}, {"README.md": "hello", "config.json": "{}"}])
def test_no_weights(tmp_path: Path, content: dict[str, str]) -> None:
    directory = tmp_path / "empty"
    directory.mkdir()
    for name, text in content.items():
        (directory / name).write_text(text)
    with pytest.raises(ModelError, match="no weights") as caught:
        inspect(directory)
    assert "download" in caught.value.remedy


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a directory"):
        inspect(tmp_path / "nothing")


def test_every_finding_at_once(weights: Path) -> None:
    (weights / "config.json").unlink()
    (weights / "model-00001-of-00002.safetensors").unlink()
    safetensors(weights / "model-00002-of-00002.safetensors", cut=10)
    (weights / "extra.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ModelError, match="4 findings") as caught:
        inspect(weights)
    text = "\n".join(caught.value.details)
    assert "config.json: missing" in text
    assert "model-00001-of-00002.safetensors: missing, named in model.safetensors.index.json" in text
    assert "model-00002-of-00002.safetensors: truncated" in text
    assert "extra.safetensors: a Git LFS pointer" in text


def test_an_index_of_a_format_that_is_not_here_is_a_leftover(weights: Path) -> None:
    leftover = {"weight_map": {"t": "pytorch_model-00001.bin"}}
    (weights / "pytorch_model.bin.index.json").write_text(json.dumps(leftover))
    assert inspect(weights).size
    (weights / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError) as caught:
        inspect(weights)
    assert caught.value.details == ("model.safetensors.index.json: is not an index of shards",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "truncated"),
        (struct.pack("<Q", 1 << 60) + b"{}", "broken header"),
        (struct.pack("<Q", 2) + b"[]", "broken header"),
        (struct.pack("<Q", 3) + b"{a}", "broken header"),
        (struct.pack("<Q", 12) + b'{"t": {}}   ', "broken header"),
        (struct.pack("<Q", 2) + b"{}xx", "too long"),
    ],
)
def test_broken_safetensors(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    assert problem in safetensors_problem(file)


def test_gguf_needs_no_config(tmp_path: Path) -> None:
    directory = tmp_path / "gguf"
    directory.mkdir()
    (directory / "m.gguf").write_bytes(b"GGUF")
    assert [file.path for file in inspect(directory).files] == ["m.gguf"]
