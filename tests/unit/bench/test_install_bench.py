"""The bench reads the times of an install from its journal."""

import pytest

from tests.bench.install import show, times

JOURNAL = [
    {"event": "phase", "name": "base", "started": 1.0, "seconds": 3.0, "beside": False},
    {"event": "pull", "host": "gpu1", "image": "vllm", "seconds": 60.0},
    {"event": "pull", "host": "gpu2", "image": "vllm", "seconds": 70.0},
    {"event": "engine_start", "node": "gpu1", "pod": "a", "seconds": 30.0},
    {"event": "end", "verb": "install", "ok": True, "seconds": 120.0},
]


def test_the_longest_pull_and_start_count(capsys: pytest.CaptureFixture[str]) -> None:
    found = times(JOURNAL)
    assert found.unavoidable == 100.0
    assert show(found, answer_seconds=5.0)
    assert "ratio 1.25 " in capsys.readouterr().out
    assert not show(found, answer_seconds=35.0)


def test_without_a_pull_there_is_no_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert not show(times(JOURNAL[-1:]))
    assert "no ratio" in capsys.readouterr().out
