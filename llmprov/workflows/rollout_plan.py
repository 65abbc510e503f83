"""How a new revision takes the old one's place: decided from the GPUs that are free now, before anything changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from llmprov.cluster.room import Room
from llmprov.errors import ModelError


class Move(StrEnum):
    """What a deployment of a model will do."""

    CREATE = "create"
    KEEP = "keep"
    SURGE = "surge"
    DRAIN_FIRST = "drain-first"


@dataclass(frozen=True, slots=True)
class Size:
    """What one replica holds; memory in bytes."""

    gpus: int
    memory: int


@dataclass(frozen=True, slots=True)
class Held:
    """A replica of the old revision that has a node."""

    node: str
    size: Size


@dataclass(frozen=True, slots=True)
class Need:
    """What one model's deployment asks of the cluster.

    Attributes:
        model: its name.
        size: of a replica of the new revision.
        replicas: that are to serve.
        held: replicas of the old revision; empty for a model that is new.
        exists: whether there is an old revision.
        changed: whether the new revision differs from the old one.
        strategy: as the model's file says.
    """

    model: str
    size: Size
    replicas: int
    held: tuple[Held, ...] = ()
    exists: bool = False
    changed: bool = True
    strategy: Literal["auto", "surge", "drain-first"] = "auto"


@dataclass(frozen=True, slots=True)
class Choice:
    """What will be done, why, and on which nodes new replicas may start."""

    model: str
    move: Move
    why: str
    nodes: tuple[str, ...] = ()
    warning: str = ""
    missing: int = 0
    """Replicas beyond those there are that have no room now."""


def choose(rooms: Sequence[Room], needs: Sequence[Need]) -> tuple[Choice, ...]:
    """Choose for all models together: what one takes is not there for the next.

    Raises:
        ModelError: a new replica of some model cannot start anywhere; the numbers of each node are told.
    """
    ledger = _Ledger({room.node: room for room in rooms})
    choices = [ledger.choose(need) for need in needs]
    if ledger.refused:
        names = ", ".join(ledger.refused)
        raise ModelError(
            f"no node has room for a new replica of {names}; nothing was changed",
            remedy=(
                "free GPUs (`llmprov status` counts them), lower resources or replicas in the model's file, "
                "or add a GPU worker"
            ),
            details=tuple(line for lines in ledger.refused.values() for line in lines),
        )
    return tuple(choices)


@dataclass
class _Ledger:
    rooms: dict[str, Room]
    refused: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def choose(self, need: Need) -> Choice:
        if not need.changed:
            return self._keep(need)
        return self._roll(need) if need.held else self._create(need)

    def _keep(self, need: Need) -> Choice:
        """Nothing is replaced; there may have to be more."""
        placed = self._place(need, need.replicas - len(need.held))
        return self._placed(need, Move.KEEP, "nothing about its replicas changes", placed)

    def _create(self, need: Need) -> Choice:
        move = Move.SURGE if need.exists else Move.CREATE
        placed = self._place(need, need.replicas)
        if need.replicas and not placed:
            return self._refuse(need, self._numbers(need, ()))
        return self._placed(need, move, "no replica has to stop for it", placed)

    def _placed(self, need: Need, move: Move, why: str, placed: Sequence[str]) -> Choice:
        missing = max(need.replicas - len(placed) - (len(need.held) if move is Move.KEEP else 0), 0)
        nodes = tuple(dict.fromkeys(placed))
        if not missing:
            return Choice(need.model, move, why, nodes)
        there = need.replicas - missing
        warning = f"model {need.model}: only {there} of {need.replicas} replicas have room now"
        return Choice(need.model, move, f"{_asks(need)}; {self._all()}", nodes, warning, missing)

    def _place(self, need: Need, replicas: int) -> list[str]:
        return [node for node in (self._take(need.size) for _ in range(replicas)) if node]

    def _roll(self, need: Need) -> Choice:
        fitting = self._fitting(need.size)
        swaps = tuple(dict.fromkeys(held.node for held in need.held if self._swaps(need, held)))
        if fitting and (need.strategy != "drain-first" or not swaps):
            free = "; ".join(self.rooms[node].label for node in fitting)
            self._take(need.size)
            return Choice(need.model, Move.SURGE, f"{_asks(need)}; {free}", fitting)
        if swaps and need.strategy != "surge":
            why = "the model's file says so" if fitting else f"{_asks(need)}, and no node has that free: {self._all()}"
            return Choice(need.model, Move.DRAIN_FIRST, why, swaps, _away(need))
        reason = ("rollout.strategy is surge: no old replica may stop first",) if swaps else ()
        return self._refuse(need, self._numbers(need, reason))

    def _swaps(self, need: Need, held: Held) -> bool:
        """Whether a new replica fits where an old one stops."""
        room = self.rooms.get(held.node)
        if room is None:
            return False
        return room.less(-held.size.gpus, -held.size.memory).fits(need.size.gpus, need.size.memory)

    def _fitting(self, size: Size) -> tuple[str, ...]:
        return tuple(node for node, room in self.rooms.items() if room.fits(size.gpus, size.memory))

    def _take(self, size: Size) -> str:
        # As the scheduler does, the emptiest first.
        fitting = self._fitting(size)
        if not fitting:
            return ""
        node = max(fitting, key=lambda name: self.rooms[name].gpus_free)
        self.rooms[node] = self.rooms[node].less(size.gpus, size.memory)
        return node

    def _refuse(self, need: Need, details: tuple[str, ...]) -> Choice:
        self.refused[need.model] = details
        return Choice(need.model, Move.KEEP, "refused")

    def _numbers(self, need: Need, reason: tuple[str, ...]) -> tuple[str, ...]:
        own = {held.node: 0 for held in need.held}
        for held in need.held:
            own[held.node] += held.size.gpus
        lines = [
            f"  {room.label}, {own[room.node]} held by {need.model} itself" if own.get(room.node) else f"  {room.label}"
            for room in self.rooms.values()
        ]
        short = [f"  {room.node} has {room.memory_free >> 30} GiB of memory left" for room in self._short(need.size)]
        return (f"{_asks(need)}:", *reason, *(lines or ("  no node takes replicas",)), *short)

    def _short(self, size: Size) -> list[Room]:
        return [room for room in self.rooms.values() if room.gpus_free >= size.gpus and room.memory_free < size.memory]

    def _all(self) -> str:
        return "; ".join(room.label for room in self.rooms.values()) or "no node takes replicas"


def _asks(need: Need) -> str:
    memory = f" and {need.size.memory / (1 << 30):.0f} GiB of memory" if need.size.memory else ""
    return f"a replica of {need.model} needs {need.size.gpus} GPUs{memory} on one node"


def _away(need: Need) -> str:
    if len(need.held) > 1:
        return ""
    return f"model {need.model}: its only replica stops first, so it does not answer until the new one is ready"
