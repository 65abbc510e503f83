"""The large images of an install: which they are, who pushes them, and how long the workers took to pull them."""

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from llmprov import ssh
from llmprov.bundle.lock import BundleLock, LockedArtifact
from llmprov.bundle.push import CORE_IMAGES
from llmprov.errors import HostConnectionError
from llmprov.inventory import Host, ModelSpec
from llmprov.results import Pulled
from llmprov.workflows.references import pinned

_AT_ONCE = 16
# One call for both: the pulls are compared with the time on the host's own clock, which may differ from this one's.
_SHOW = "date +now=%s.%N; exec cat /run/llmprov-prepull/pulled"
# Lines that a login prints, or that were cut off, are neither.
_NOW = re.compile(r"^now=([0-9.]+)$", re.MULTILINE)
_PULL = re.compile(r"^(\S+@sha256:[0-9a-f]{64}) ([0-9.]+) ([0-9.]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Staged:
    """Images that are brought to the GPU workers ahead of their pods.

    Attributes:
        engines: names of the bundle's engine images.
        weights: names of the bundle's images of weights.
        stations: names of the bundle's images that the stations' pods run.
        references: full references of both by digest, engines first: they are larger and needed first.
    """

    engines: tuple[str, ...]
    weights: tuple[str, ...]
    references: tuple[str, ...]
    stations: tuple[str, ...] = ()

    @property
    def push_order(self) -> tuple[str, ...]:
        """Names in the order in which the registry is to get them.

        The pull of the engine is the longest step of an install: it is to begin first. The control plane's images are
        needed later than the engine's has arrived; weights may be a hundred times larger than anything else.
        """
        return tuple(dict.fromkeys((*self.engines, *CORE_IMAGES, *self.stations, *self.weights)))


def staged_images(models: Iterable[ModelSpec], lock: BundleLock, stations: tuple[str, ...] = ()) -> Staged:
    """Find the engine and weight images of all models; the stations' are known by name.

    Raises:
        BundleError: a model names an artifact that the bundle does not have.
    """
    models = tuple(models)
    engines = [_find(model.engine.image, lock, by_name="/" not in model.engine.image) for model in models]
    weights = [_weights(model, lock) for model in models]
    found = dict.fromkeys(image for image in (*engines, *weights) if image is not None)
    return Staged(_names(engines), _names(weights), tuple(pinned(image) for image in found), stations)


def _names(images: Iterable[LockedArtifact | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(image.name for image in images if image is not None))


def pulls(hosts: Sequence[Host], *, within: float) -> tuple[Pulled, ...]:
    """Ask the hosts how long the pulls of the last `within` seconds took; a host that cannot say is left out."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return tuple(pulled for found in pool.map(lambda host: _of_host(host, within), hosts) for pulled in found)


def _weights(model: ModelSpec, lock: BundleLock) -> LockedArtifact | None:
    if model.source.artifact is not None:
        return _find(model.source.artifact, lock, by_name=True)
    return _find(model.source.image or "", lock, by_name=False)


def _find(wanted: str, lock: BundleLock, *, by_name: bool) -> LockedArtifact | None:
    """A name must be in the bundle; a reference that is not in it lies in the registry, and is left to its pod."""
    if by_name:
        return lock.image(wanted)
    return next((image for image in lock.images if wanted == image.ref), None)


def _of_host(host: Host, within: float) -> tuple[Pulled, ...]:
    try:
        shown = ssh.run(host.ssh, ("sh", "-c", _SHOW))
    except HostConnectionError:
        return ()
    return parse(host.name, shown.stdout.decode(errors="replace"), within=within)


def parse(host: str, shown: str, *, within: float) -> tuple[Pulled, ...]:
    """Read the host's time and what its pull unit wrote: image, begin and end of each pull, in seconds.

    Pulls that began more than `within` seconds ago are left out. An image is given once, with its longest pull: a unit
    that waits for another image asks again for those it has.
    """
    now = _NOW.search(shown)
    if now is None:
        return ()
    since = float(now[1]) - within
    found: dict[str, float] = {}
    for image, began, ended in _PULL.findall(shown):
        if float(began) >= since:
            found[image] = max(found.get(image, 0.0), float(ended) - float(began))
    return tuple(Pulled(host, image, round(seconds, 2)) for image, seconds in found.items())
