"""Directories of model files, as a user has them on the controller."""

import json
import os
import struct
import subprocess
from pathlib import Path

from llmprov.bundle.lock import BundleLock
from llmprov.bundle.oci import parse_manifest
from llmprov.paths import cache_dir


def unpack(name: str, directory: Path) -> None:
    """Take a model's files out of its image in the bundle."""
    bundle = cache_dir() / "bundle"
    blobs = bundle / "blobs" / "sha256"
    image = BundleLock.load(bundle).image(name)
    for layer in parse_manifest((blobs / image.sha256).read_bytes(), image.name).layers:
        file = blobs / layer.blob.sha256
        subprocess.run(["tar", "--extract", f"--directory={directory}", f"--file={file}"], check=True)


def make_sparse(directory: Path, size: int) -> None:
    """Make a model of `size` bytes that is whole as far as its header tells, and takes no room on the disk."""
    header = json.dumps({"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text("{}", encoding="utf-8")
    weights = directory / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(weights, weights.stat().st_size + size)
