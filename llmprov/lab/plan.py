"""What a supervisor needs to boot one host. Standard library only: the supervisor imports this module."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostPlan:
    """All that is fixed about a host before it boots; kept as JSON beside its files.

    Attributes:
        root: where the host's file system is put together.
        lower, upper, work: layers of the overlay mounted there.
        disk: image of the file system for /var; empty when the host shares the machine's disk.
        binds: (outside, inside, writable) directories.
        memory_bytes: limit of all its processes; None for no limit.
    """

    lab: str
    host: str
    root: str
    lower: str
    upper: str
    work: str
    disk: str
    namespace: str
    machine_id: str
    init: str
    binds: tuple[tuple[str, str, bool], ...]
    memory_bytes: int | None

    def save(self) -> str:
        """The plan as JSON."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def load(file: Path) -> "HostPlan":
        """Read what `save` gave."""
        data = json.loads(file.read_text())
        binds = tuple((outside, inside, writable) for outside, inside, writable in data.pop("binds"))
        return HostPlan(binds=binds, **data)
