import pytest

from tests.bench.gateway import Times, quantile


def test_quantiles_are_times_that_were_seen() -> None:
    times = [float(number) for number in range(100, 0, -1)]
    assert (quantile(times, 0.5), quantile(times, 0.99), quantile([3.0], 0.99)) == (51.0, 100.0, 3.0)


def test_what_is_added_is_told_in_milliseconds() -> None:
    times = Times([0.1] * 99 + [0.5], [0.104] * 99 + [0.52])
    assert times.added(0.5) == pytest.approx(0.004)
    assert times.added(0.99) == pytest.approx(0.02)
    assert times.summary()["added_ms"] == {"p50": 4.0, "p90": 4.0, "p99": 20.0}
