"""After a reset a host is what it was before the first installation."""

from collections.abc import Callable


def test_nothing_is_left(snapshots: Callable[[], tuple[set[str], set[str]]]) -> None:
    before, after = snapshots()
    assert sorted(after - before) == []
    assert sorted(before - after) == []
