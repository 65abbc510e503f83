"""`llmprov model push`: from a directory of weights to an image in the cluster's registry."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from llmprov import paths, ssh
from llmprov.bundle.push import push_manifests
from llmprov.bundle.store import BlobStore
from llmprov.errors import ModelError
from llmprov.inventory import Host, Inventory, ModelSpec
from llmprov.preflight import Needs
from llmprov.preflight.needs import CONTAINERD_PATH
from llmprov.progress import Progress
from llmprov.states import PushedModel, StoredModel
from llmprov.workflows.model_image import PackedModel, PlannedLayer, pack, plan
from llmprov.workflows.references import open_registry, with_digest
from llmprov.workflows.registry import Stored
from llmprov.workflows.weights import ModelFiles, check_name, inspect

REPOSITORY = "llmprov.internal/models"
HUB = "hf:"
# What a host must have left over after a model was placed there: logs, images of the system, a full pod restart.
_RESERVE = 1 << 30
_AT_ONCE = 32


def push(inventory: Inventory, source: str, name: str, tag: str, progress: Progress) -> PushedModel:
    """Push a model; what is in the registry already is not sent again, and an interrupted push goes on.

    Args:
        inventory: names the cluster.
        source: a directory, or `hf:REPO[@REVISION]`.
        name: a DNS-1123 label.
        tag: of the image.
        progress: gets a step for checking, packing and pushing.

    Raises:
        ModelError: the name, the weights or the hosts' disks do not allow it; nothing was sent.
    """
    check_name(name)
    files = inspect(_directory(source, progress))
    for path in files.left_out:
        progress.note(f"left out: {path} (the same weights are there as safetensors)")
    with progress.step("check disks"):
        check_disks(inventory, files)
    layers = plan(files)
    # Not the bundle's store: what was packed is removed again, and may have the same digest as a blob that stays.
    store = BlobStore(paths.cache_dir() / "models")
    memory = paths.cache_dir() / "models" / f"{name}.json"
    _check_cache(store, layers)
    with progress.step("pack", name) as step:
        packed = pack(store, layers, memory, step)
    reference = f"{REPOSITORY}/{name}:{tag}"
    with open_registry(inventory) as registry:
        report = push_manifests(store.path, [packed.descriptor.named(reference)], registry.url, progress)
    _forget(store, packed, memory)
    return PushedModel(
        name=name,
        reference=with_digest(reference, packed.descriptor.digest),
        tag=tag,
        size=sum(layer.blob.size for layer in packed.layers),
        layers=len(packed.layers),
        compressed=sum(layer.compression == "zstd" for layer in layers),
        sent=report.sent,
        seconds=report.seconds,
    )


def stored_models(inventory: Inventory, progress: Progress) -> tuple[StoredModel, ...]:
    """List the models in the cluster's registry, and as which models of the inventory they are served."""
    with progress.step("registry"), open_registry(inventory) as registry:
        found = registry.stored(f"{REPOSITORY}/")
    return tuple(
        StoredModel(
            name=image.repository.removeprefix(f"{REPOSITORY}/"),
            tag=image.tag,
            reference=f"{image.repository}@{image.digest}",
            size=image.size,
            served_as=tuple(model.name for model in inventory.models if _is_served(model, image)),
        )
        for image in found
    )


def _is_served(model: ModelSpec, image: Stored) -> bool:
    source = model.source
    if source.artifact is not None:
        return image.repository == f"{REPOSITORY}/{source.artifact}"
    return source.image in {image.reference, f"{image.repository}@{image.digest}"}


def check_disks(inventory: Inventory, files: ModelFiles) -> None:
    """Refuse a model that the hosts cannot hold.

    While it is pulled a GPU worker holds a model twice (the layers, and what is unpacked of them), the registry once.
    """
    needs = [(host, CONTAINERD_PATH, 2 * files.size) for host in inventory.gpu_workers]
    registry = inventory.host(inventory.settings.first_control_plane)
    needs.append((registry, str(registry.variables.get("registry_data_dir", Needs.registry_path)), files.size))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        free = list(pool.map(lambda need: free_bytes(need[0], need[1]), needs))
    findings = tuple(
        f"{host.name}: {_gib(there)} GiB free under {path}, needed {_gib(bytes_needed + _RESERVE)} GiB"
        for (host, path, bytes_needed), there in zip(needs, free, strict=True)
        if there < bytes_needed + _RESERVE
    )
    if findings:
        raise ModelError(
            f"the model ({_gib(files.size)} GiB) does not fit on {len(findings)} of {len(needs)} hosts",
            remedy="free or add disk there, or choose a smaller or quantized model",
            details=findings,
        )


def free_bytes(host: Host, path: str) -> int:
    """Ask a host how many bytes are free where `path` is or would be."""
    # The directory may not exist yet: then its nearest parent counts.
    script = 'p="$1"; while [ ! -e "$p" ]; do p="${p%/*}"; p="${p:-/}"; done; df --block-size=1 --output=avail "$p"'
    answer = ssh.run(host.ssh, ("sh", "-c", script, "sh", path))
    lines = answer.stdout.decode(errors="replace").split()
    if answer.returncode != 0 or not lines or not lines[-1].isdigit():
        raise ModelError(
            f"{host.name}: cannot tell how much disk is free under {path}",
            remedy=f"try it by hand: ssh {host.name} df {path}",
            details=tuple(answer.stderr.splitlines()),
        )
    return int(lines[-1])


def _directory(source: str, progress: Progress) -> Path:
    return _download(source.removeprefix(HUB), progress) if source.startswith(HUB) else Path(source)


def _download(repository: str, progress: Progress) -> Path:
    if find_spec("huggingface_hub") is None:
        raise ModelError(
            f"{HUB}{repository} needs the package huggingface_hub on this controller, which is not installed",
            remedy=(
                "pip install huggingface_hub, or download the model on another machine, bring it here and push its "
                "directory"
            ),
        )
    name, _, revision = repository.partition("@")
    with progress.step("download", repository):
        try:
            return Path(import_module("huggingface_hub").snapshot_download(repo_id=name, revision=revision or None))
        except Exception as error:  # the hub client's own errors share no base class
            raise ModelError(
                f"{HUB}{repository} cannot be downloaded: {str(error).splitlines()[0]}",
                remedy="check the name, the network, and HF_TOKEN for a model that asks for consent",
            ) from error


def _check_cache(store: BlobStore, layers: Sequence[PlannedLayer]) -> None:
    needed = sum(layer.size for layer in layers)
    free = shutil.disk_usage(store.root).free
    if free < needed:
        raise ModelError(
            f"packing needs {_gib(needed)} GiB on this controller, {store.root} has {_gib(free)} GiB free",
            remedy="free disk there, or put the cache elsewhere: LLMPROV_CACHE_DIR",
        )


def _forget(store: BlobStore, packed: PackedModel, memory: Path) -> None:
    """The registry has it now: the controller need not keep a second copy of the weights."""
    for layer in packed.layers:
        store.path(layer.blob.sha256).unlink(missing_ok=True)
    memory.unlink(missing_ok=True)


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f}"
