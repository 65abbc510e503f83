"""The bench reads the times of an install from its journal."""

import pytest

from tests.bench.install import show, times

JOURNAL = [
    {"event": "phase", "name": "base", "started": 1.0, "seconds": 3.0, "beside": False},
    {"event": "pull", "host": "gpu1", "image": "vllm", "seconds": 60.0},
    {"event": "pull", "host": "gpu2", "image": "vllm", "seconds": 70.0},
    {"event": "engine_start", "node": "gpu1", "pod": "a", "seconds": 30.0},
    {"event": "answer", "seconds": 115.0},
    {"event": "end", "verb": "install", "ok": True, "seconds": 120.0},
]


def test_the_longest_pull_and_start_count(capsys: pytest.CaptureFixture[str]) -> None:
    found = times(JOURNAL)
    assert found.unavoidable == 100.0
    assert show(found)
    shown = capsys.readouterr().out
    assert "ratio 1.15 " in shown
    assert "ratio 1.20 " in shown


@pytest.mark.parametrize(("answer", "whole"), [(131.0, 140.0), (125.0, 151.0)], ids=["answer", "whole"])
def test_either_goal_can_be_missed(answer: float, whole: float) -> None:
    late = {"answer": answer, "end": whole}
    assert not show(times([{**event, "seconds": late.get(str(event["event"]), event["seconds"])} for event in JOURNAL]))


def test_without_a_pull_there_is_no_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert not show(times(JOURNAL[-1:]))
    assert "no ratio" in capsys.readouterr().out
