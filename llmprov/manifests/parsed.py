"""Files of manifests, parsed once: YAML of megabytes takes seconds to read, the same as JSON hardly any time."""

import hashlib
import json
import os
from pathlib import Path
from typing import cast

from llmprov import paths
from llmprov.manifests import addon

# Goes up with the way of parsing.
_REVISION = "1"


def load(path: Path) -> addon.Objects:
    """Read the objects of a file of YAML; the parsed form is kept in the user's cache by the file's digest.

    Raises:
        BundleError: the file is not YAML, or a document in it is not a Kubernetes object.
    """
    kept = paths.cache_dir() / "manifests" / f"{hashlib.sha256(path.read_bytes()).hexdigest()}-{_REVISION}.json"
    try:
        return _objects(kept.read_bytes())
    except (OSError, ValueError):
        # Not there yet, or cut off: it is only a copy.
        text = json.dumps(addon.load(path), default=str)
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_name(f".{kept.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(kept)
    return _objects(text)


def _objects(text: str | bytes) -> addon.Objects:
    return tuple(cast("list[dict[str, object]]", json.loads(text)))
