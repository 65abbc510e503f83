"""Rules about one host's disks: what each stage will write, added up per file system."""

from collections import defaultdict
from collections.abc import Iterator

from llmprov.inventory import Host
from llmprov.preflight import needs
from llmprov.preflight.context import Context, error, gib
from llmprov.preflight.facts import Disk, HostFacts
from llmprov.preflight.findings import Finding


def check_disks(host: Host, facts: HostFacts, context: Context) -> Iterator[Finding]:
    """Check that every file system has room for what will be written to it, and can be written to."""
    disks = {disk.path: disk for disk in facts.disks}
    for path, disk in disks.items():
        if not disk.writable:
            yield error(
                host, "disk", f"{path} is on a read-only file system", "look for disk errors, or mount it writable"
            )
    if not facts.installed:
        yield from _check_room(host, disks, context)
    if context.is_worker(host) and needs.CONTAINERD_PATH in disks:
        yield from _check_models(host, disks[needs.CONTAINERD_PATH], context)


def wanted_room(host: Host, context: Context) -> dict[str, list[tuple[str, int]]]:
    """Return what will be written below each path: a word for it, and bytes."""
    wanted: dict[str, list[tuple[str, int]]] = defaultdict(list)
    wanted[needs.CONTAINERD_PATH].append(("Kubernetes", needs.NODE_ROOM))
    if context.is_control_plane(host):
        wanted[needs.ETCD_PATH].append(("etcd", needs.ETCD_ROOM))
    if context.has_registry(host):
        wanted[context.needs.registry_path].append(("the registry", context.needs.bundle))
    if context.is_worker(host):
        for image in (*_largest(context.needs.engines), *_largest(context.needs.models)):
            wanted[needs.CONTAINERD_PATH].append((image.name, image.room))
    return wanted


def _check_room(host: Host, disks: dict[str, Disk], context: Context) -> Iterator[Finding]:
    by_device: dict[int, list[tuple[str, int]]] = defaultdict(list)
    example: dict[int, Disk] = {}
    for path, items in wanted_room(host, context).items():
        if disk := disks.get(path):
            by_device[disk.device] += items
            example.setdefault(disk.device, disk)
    for device, items in by_device.items():
        disk, total = example[device], sum(size for _, size in items)
        if disk.free < total:
            parts = " + ".join(f"{name} {gib(size)}" for name, size in items if size)
            yield error(
                host,
                "disk",
                f"too little disk: {gib(disk.free)} free for {disk.path}, {gib(total)} needed ({parts})",
                "free or add space, or mount a larger disk there",
            )


def _check_models(host: Host, disk: Disk, context: Context) -> Iterator[Finding]:
    for image in context.needs.models:
        if image.room > disk.size:
            yield error(
                host,
                "disk",
                f"model {image.name} needs {gib(image.room)} to pull; the disk of {disk.path} has {gib(disk.size)}",
                "mount a larger disk there, or choose a smaller or quantised model",
            )


def _largest(images: tuple[needs.ImageNeed, ...]) -> tuple[needs.ImageNeed, ...]:
    """Any worker may get any model; what is pulled first is at least the largest."""
    return tuple(sorted(images, key=lambda image: image.room)[-1:])
