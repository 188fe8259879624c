"""How long a run will take, by hand and against runs that were simulated."""

import heapq
import math
import random

import pytest

from batch.pacing.forecast import Forecast, forecast

TIMES = [24.0] * 50  # no spread: mean 24, lag 0.07 x 24 + 0.5 = 2.18


def middle(found):
    return (found.low_s + found.high_s) / 2


@pytest.mark.parametrize(
    ("jobs", "limit", "more", "seconds"),
    [
        pytest.param(10, None, {"concurrency": 10}, 26.18, id="all at once"),
        pytest.param(100, None, {"concurrency": 10}, 90 * 26.18 / 10 + 26.18, id="bound by jobs in flight"),
        pytest.param(100, 5.0, {}, 19 * 60 - 30 + 26.18, id="bound by the rate: 20 windows"),
        pytest.param(30, 5.0, {"counts_gets": True}, 17 * 60 - 30 + 26.18, id="three calls a job: 1.67 a minute, 18 windows"),
        pytest.param(1000, 50.0, {}, 19 * 60 - 30 + 26.18, id="50 in flight fill 50 a minute"),
        pytest.param(1000, 50.0, {"concurrency": 10}, 990 * 26.18 / 10 + 26.18, id="too few in flight for the rate"),
    ],
)  # fmt: skip
def test_the_formulas_by_hand(jobs, limit, more, seconds):
    found = forecast(jobs, limit, TIMES, **more)
    assert found.low_s == pytest.approx(max(seconds * 0.9 - 30, 0))
    assert found.high_s == pytest.approx(seconds * 1.1 + 30)


def test_nothing_to_send_takes_no_time_and_nothing_known_no_guess():
    assert forecast(0, None) == Forecast(0.0, 0.0)
    assert forecast(100, None) is None


def test_a_few_jobs_teach_nothing_and_the_vendors_figure_holds():
    few, none = (forecast(100, None, times, concurrency=10) for times in ([1.0] * 7, []))
    assert few == none
    assert middle(none) > 2 * middle(forecast(100, None, [5.0] * 8, concurrency=10))


@pytest.mark.parametrize(("spread", "within"), [(0.1, 10), (0.3, 10), (0.6, 8)])
@pytest.mark.parametrize(("jobs", "in_flight"), [(1000, 50), (400, 100)])
def test_simulated_runs_fall_into_the_range(jobs, in_flight, spread, within):
    """Of ten runs; with a wide spread the slowest single job decides."""
    inside = 0
    for seed in range(10):
        draw = random.Random(seed)
        times = [20 * math.exp(draw.gauss(0, spread)) for _ in range(jobs)]
        ends = [0.0] * in_flight
        for seconds in times:
            heapq.heapreplace(ends, ends[0] + seconds * 1.07 + 0.5)
        found = forecast(jobs, None, times[:100], concurrency=in_flight)
        inside += found.low_s <= max(ends) <= found.high_s
    assert inside >= within
