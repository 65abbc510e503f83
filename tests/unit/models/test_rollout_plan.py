"""How a new revision takes the old one's place: every case in numbers."""

from dataclasses import replace

import pytest

from llmprov.cluster.room import Room
from llmprov.errors import ModelError
from llmprov.workflows.rollout_plan import Held, Move, Need, Size, choose

GIB = 1 << 30
ONE = Size(1, 5 * GIB)


def room(node: str, free: int, gpus: int = 2, memory: int = 64) -> Room:
    return Room(node, gpus, free, memory * GIB)


def need(*nodes: str, model: str = "m", size: Size = ONE, replicas: int = 1) -> Need:
    held = tuple(Held(node, ONE) for node in nodes)
    return Need(model, size, replicas, held, exists=bool(held))


def test_a_free_gpu_lets_the_new_one_start_first() -> None:
    (choice,) = choose([room("gpu1", 0), room("gpu2", 1)], [need("gpu1")])
    assert (choice.move, choice.nodes, choice.warning) == (Move.SURGE, ("gpu2",), "")
    assert "needs 1 GPUs and 5 GiB of memory on one node; gpu2: 1 of 2 GPUs free" in choice.why


def test_without_a_free_gpu_an_old_one_stops_first() -> None:
    (choice,) = choose([room("gpu1", 0), room("gpu2", 0)], [need("gpu1", "gpu2")])
    assert (choice.move, choice.nodes, choice.warning) == (Move.DRAIN_FIRST, ("gpu1", "gpu2"), "")
    assert "gpu1: 0 of 2 GPUs free; gpu2: 0 of 2 GPUs free" in choice.why


def test_the_only_replica_that_stops_first_is_warned_of() -> None:
    (choice,) = choose([room("gpu1", 0)], [need("gpu1")])
    assert "does not answer until the new one is ready" in choice.warning


def test_free_gpus_on_two_nodes_are_no_two_gpus() -> None:
    with pytest.raises(ModelError, match="room for a new replica of m; nothing was changed") as caught:
        choose([room("gpu1", 1), room("gpu2", 1)], [need("gpu1", size=Size(3, 0))])
    assert caught.value.details == (
        "a replica of m needs 3 GPUs on one node:",
        "  gpu1: 1 of 2 GPUs free, 1 held by m itself",
        "  gpu2: 1 of 2 GPUs free",
    )


def test_a_larger_replica_may_fit_where_the_old_one_stops() -> None:
    (choice,) = choose([room("gpu1", 1)], [need("gpu1", size=Size(2, 0))])
    assert choice.move is Move.DRAIN_FIRST


def test_memory_counts_as_gpus_do() -> None:
    with pytest.raises(ModelError) as caught:
        choose([room("gpu1", 2, memory=4)], [need()])
    assert caught.value.details[-1] == "  gpu1 has 4 GiB of memory left"


def test_two_rollouts_do_not_count_on_the_same_gpu() -> None:
    rooms = [room("gpu1", 0), room("gpu2", 1)]
    first, second = choose(rooms, [need("gpu1", model="a"), need("gpu1", model="b")])
    assert (first.move, second.move) == (Move.SURGE, Move.DRAIN_FIRST)


def test_what_the_file_says_is_done_or_refused() -> None:
    free = [room("gpu1", 1)]
    (choice,) = choose(free, [replace(need("gpu1"), strategy="drain-first")])
    assert (choice.move, choice.why) == (Move.DRAIN_FIRST, "the model's file says so")
    with pytest.raises(ModelError) as caught:
        choose([room("gpu1", 0)], [replace(need("gpu1"), strategy="surge")])
    assert any("no old replica may stop first" in line for line in caught.value.details)


def test_new_models_take_what_is_free() -> None:
    (choice,) = choose([room("gpu1", 2), room("gpu2", 1)], [need(replicas=2)])
    assert (choice.move, choice.nodes, choice.warning) == (Move.CREATE, ("gpu1",), "")
    (choice,) = choose([room("gpu1", 1)], [need(replicas=3)])
    assert choice.warning == "model m: only 1 of 3 replicas have room now"
    (choice,) = choose([], [need(replicas=0)])
    assert choice.move is Move.CREATE


def test_every_model_that_is_refused_is_named() -> None:
    with pytest.raises(ModelError, match="of a, b;") as caught:
        choose([room("gpu1", 0)], [need(model="a"), need(model="b")])
    assert len(caught.value.details) == 4
    with pytest.raises(ModelError) as caught:
        choose([], [need()])
    assert "  no node takes replicas" in caught.value.details


def test_what_does_not_change_is_kept_and_needs_no_gpu() -> None:
    (choice,) = choose([], [replace(need("gpu1"), changed=False)])
    assert choice.move is Move.KEEP


def test_a_node_that_is_gone_frees_nothing() -> None:
    with pytest.raises(ModelError):
        choose([room("gpu2", 0)], [need("gpu1")])


def test_a_broken_model_without_a_node_is_replaced_like_a_new_one() -> None:
    (choice,) = choose([room("gpu1", 1)], [replace(need(), exists=True)])
    assert choice.move is Move.SURGE
