"""Models of an installed cluster, for tests that change them and put them back."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from llmprov.bundle.lock import BundleLock
from llmprov.inventory import load as load_inventory
from llmprov.workflows.references import pinned
from tests.lab.conftest import KUBECTL, Lab


def changed(lab: Lab, directory: Path, model: str, **keys: object) -> Path:
    """Copy the lab's inventory and change keys of one model in the copy; mappings are merged."""
    copy = directory / "inventory"
    shutil.copytree(lab.inventory, copy)
    file = next(path for path in (copy / "models").glob("*.yml") if yaml.safe_load(path.read_text())["name"] == model)
    document = yaml.safe_load(file.read_text())
    for key, value in keys.items():
        document[key] = document.get(key, {}) | value if isinstance(value, dict) else value
    file.write_text(yaml.safe_dump(document))
    return copy


def served(lab: Lab, name: str) -> dict[str, Any]:
    """Return what `llmprov model list` says of a model."""
    listed = lab.llmprov("model", "list", "-i", str(lab.inventory), "--json").json
    return next(model for model in listed if model["name"] == name)


def pods(lab: Lab, name: str) -> dict[str, str]:
    """Return the phase of a model's pods, by name; those that stop or have ended are left out."""
    command = f"{KUBECTL} -n llmprov-models get pods -l llmprov.io/model={name} -o json"
    items = json.loads(lab.ssh("cp1", command))["items"]
    return {
        item["metadata"]["name"]: item["status"]["phase"]
        for item in items
        if "deletionTimestamp" not in item["metadata"] and item["status"]["phase"] not in {"Failed", "Succeeded"}
    }


@contextmanager
def no_spare_gpu(lab: Lab) -> Iterator[None]:
    """Take every GPU that is free now."""
    inventory = load_inventory(lab.inventory)
    image = pinned(BundleLock.load(inventory.settings.bundle_dir).image("pause"))
    nodes = lab.llmprov("status", "-i", str(lab.inventory), "--json", check=False).json["nodes"]
    free = {node["name"]: node["gpus"] - node["gpus_used"] for node in nodes if node["gpus"] > node["gpus_used"]}
    blockers = [_blocker(node, count, image) for node, count in free.items()]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": blockers})
    names = " ".join(f"gpu-blocker-{node}" for node in free)
    try:
        if free:
            lab.ssh("cp1", f"{KUBECTL} apply -f - <<'END'\n{text}\nEND")
            lab.ssh("cp1", f"{KUBECTL} wait --for=condition=Ready --timeout=90s pod {names}")
        yield
    finally:
        if free:
            lab.ssh("cp1", f"{KUBECTL} delete pod --grace-period=1 --ignore-not-found {names}")


def _blocker(node: str, count: int, image: str) -> dict[str, object]:
    limits = {"nvidia.com/gpu": str(count)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"gpu-blocker-{node}", "namespace": "default"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "blocker", "image": image, "resources": {"limits": limits}}],
        },
    }
