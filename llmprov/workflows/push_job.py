"""A push to a cluster's registry: what goes, and to which host. A value that can be handed to another process."""

import json
import threading
import time
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self

import requests

from llmprov import ssh
from llmprov.bundle.push import PushReport, Selection, push_bundle
from llmprov.errors import BundleError
from llmprov.inventory import Host, Inventory
from llmprov.progress import Progress

PUSH_PORT = 5001
"""The default of role registry."""
_PAUSE = 0.2
_ANSWER = 5.0


def push_port(host: Host) -> int:
    """Return the registry's writable port on a host, on 127.0.0.1 there."""
    return int(str(host.variables.get("registry_push_port", PUSH_PORT)))


@dataclass(frozen=True, kw_only=True)
class PushJob:
    """What to push where.

    Attributes:
        target: host of the registry.
        host: its name for people.
        port: the registry's writable port on 127.0.0.1 there.
        bundle: directory of the bundle.
        selection: the part of it to push.
        patience: seconds to wait for a registry that does not answer yet.
    """

    target: ssh.SshTarget
    host: str
    port: int
    bundle: Path
    selection: Selection
    patience: float = 0.0

    def to_json(self) -> str:
        """Write it as one line; it holds no secret."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def to_cluster(cls, inventory: Inventory, selection: Selection, *, patience: float = 0.0) -> Self:
        """Make the job that pushes from the inventory's bundle to its cluster."""
        host = inventory.host(inventory.settings.first_control_plane)
        return cls(
            target=host.ssh,
            host=host.name,
            port=push_port(host),
            bundle=inventory.settings.bundle_dir,
            selection=selection,
            patience=patience,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        target = data["target"] | {"common_args": tuple(data["target"]["common_args"])}
        selection = data["selection"] | {"images": tuple(data["selection"]["images"])}
        return cls(
            target=ssh.SshTarget(**target),
            host=data["host"],
            port=data["port"],
            bundle=Path(data["bundle"]),
            selection=Selection(**selection),
            patience=data["patience"],
        )

    def run(self, progress: Progress) -> PushReport:
        """Push through SSH.

        Raises:
            BundleError: the registry does not answer in time or refuses, or a blob is damaged.
            HostConnectionError: the host cannot be logged into.
        """
        with ssh.tunnel(self.target, "127.0.0.1", self.port) as local_port:
            url, name = f"http://127.0.0.1:{local_port}", f"{self.host}:{self.port}"
            if self.patience:
                with progress.step("registry", f"waiting for {name}"):
                    _wait(url, name, self.patience)
            return push_bundle(self.bundle, url, self.selection, progress, name=name)


def _wait(url: str, name: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    with requests.Session() as session:
        # The environment's proxy has no part in a connection to this machine's own tunnel.
        session.trust_env = False
        while True:
            try:
                answer = session.get(f"{url}/v2/", timeout=_ANSWER)
                if answer.status_code == HTTPStatus.OK:
                    return
                said, cause = f"{url}/v2/ answered {answer.status_code} {answer.reason}", None
            except requests.RequestException as error:
                said, cause = str(error), error
            if time.monotonic() >= deadline:
                raise BundleError(
                    f"no registry answers at {name} after {seconds:.0f} s",
                    remedy="bring it up: llmprov install --until registry",
                    details=(said,),
                ) from cause
            pause.wait(_PAUSE)
