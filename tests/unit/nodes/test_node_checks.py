"""What a removal must not break."""

import pytest

from llmprov.cluster.nodes import NodeState
from llmprov.errors import ClusterError
from llmprov.workflows.node_checks import Target, Votes, check_planes, check_votes


def node(name: str, *, control_plane: bool = True) -> NodeState:
    return NodeState(
        name=name, ready=True, schedulable=True, control_plane=control_plane, version="v1", gpus=0, gpus_used=0
    )


def target(name: str) -> Target:
    return Target(name, None, None, control_plane=True)


def votes(members: str, healthy: str) -> Votes:
    return Votes(frozenset(members), frozenset(healthy))


@pytest.mark.parametrize(
    ("members", "healthy", "leaving"),
    [
        ("abc", "abc", "c"),
        ("abc", "ab", "c"),  # the dead one goes
        ("abc", "abc", "bc"),
        ("abcde", "abcd", "d"),
        ("abc", "ac", "x"),  # no member at all
        ("ab", "ab", "b"),
    ],
)
def test_a_majority_that_stays(members: str, healthy: str, leaving: str) -> None:
    check_votes([target(name) for name in leaving], votes(members, healthy))


@pytest.mark.parametrize(
    ("members", "healthy", "leaving", "numbers"),
    [
        ("abc", "ac", "c", "2 members, 1 of them healthy, and needs 2"),
        ("abcde", "abc", "c", "4 members, 2 of them healthy, and needs 3"),
    ],
)
def test_a_majority_that_would_break(members: str, healthy: str, leaving: str, numbers: str) -> None:
    with pytest.raises(ClusterError, match=numbers):
        check_votes([target(name) for name in leaving], votes(members, healthy))


def test_the_last_control_planes() -> None:
    nodes = [node("a"), node("b"), node("w", control_plane=False)]
    check_planes([target("b"), target("w")], "elsewhere", nodes)
    with pytest.raises(ClusterError, match="a, b: no control plane would be left"):
        check_planes([target("a"), target("b")], "elsewhere", nodes)
    with pytest.raises(ClusterError, match="a is the first control plane"):
        check_planes([target("a")], "a", nodes)
