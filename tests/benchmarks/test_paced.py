"""Runs bound by the rate limit: the wall over the ideal of the same job times and limit, and the 429s it took.

Windows are shorter than the service's minute, and the job times and lifetimes with them. The cases wait far more than
they work, so they run side by side, each against a service of its own, begun a few seconds apart.
Run with -n 0: workers of pytest-xdist would each run them all.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import driving
import ideal
import pytest
from counting import Counting
from counting.options import SLIDING, Options
from tiers import seconds

pytestmark = pytest.mark.benchmark

JOB_S = 23.4
MINUTE_S = 60.0
HOUR_S = 3600.0
BEGUN_APART_S = seconds(3.0)


def scaled(window_s, limit, **more):
    """Return the service with a minute, its jobs and its hour shortened to `window_s`."""
    scale = window_s / MINUTE_S
    limits = limit if isinstance(limit, tuple) else ((0.0, limit),)
    return Options(
        median_s=JOB_S * scale, sigma=0.3, limits=limits, window_s=window_s, record_s=HOUR_S * scale, **more
    )


@dataclass(frozen=True)
class Case:
    """One run."""

    options: Options
    rows: int
    at_once: int


PRO = scaled(seconds(20.0), 50)
CASES = {
    # Its window is never shortened: below a second, what a call takes on a busy machine costs whole windows.
    "5 a window, GETs counted": Case(scaled(1.6, 5, counts_gets=True), 160, 160),
    "GETs counted": Case(scaled(seconds(10.0), 50, counts_gets=True), 205, 100),
    "with header": Case(PRO, 300, 100),
    "no header": Case(replace(PRO, header=False), 250, 100),
    "sliding window": Case(replace(PRO, windows=SLIDING), 250, 100),
    "limit changes 50, 20, 100": Case(
        scaled(seconds(20.0), ((0.0, 50), (seconds(40.0), 20), (seconds(80.0), 100))), 270, 100
    ),
    "clock 30 s ahead": Case(replace(PRO, skew_s=30.0), 250, 100),
    "clock 30 s behind": Case(replace(PRO, skew_s=-30.0), 250, 100),
}
HARDER = tuple(CASES)[3:]


def go(folder, case):
    with Counting(case.options) as service:
        path = driving.manifest(folder, case.rows)
        return driving.command(service, path, "--concurrency", case.at_once)


@pytest.fixture(scope="module")
def paced(tmp_path_factory):
    """Every case, run to its end."""
    folder = tmp_path_factory.mktemp("paced")
    with ThreadPoolExecutor(len(CASES)) as pool:
        running = {}
        for number, (name, case) in enumerate(CASES.items()):
            running[name] = pool.submit(go, folder / str(number), case)
            time.sleep(BEGUN_APART_S)
    return running


def ran(paced, name):
    result = paced[name].result()
    assert result.cost.code == 0, result.cost.told
    return result


def judge(goals, paced, name, best, *, wall, throttles):
    case, result = CASES[name], ran(paced, name)
    window_s = case.options.window_s
    what = f"{case.rows} jobs, {case.options.limits[0][1]} per {window_s:g} s, {name}"
    told = f"ideal {best:.1f} s, here {result.spent}"
    goals.at_most(f"{what}: wall ÷ ideal", result.cost.wall_s / best, wall, "{:.3f}", told, slack=0.25)
    share, most = result.throttled_per_window(window_s), max(result.counts["throttled"].values(), default=0)
    if throttles is None:
        goals.tell("    429s a window", f"{share:.1f}  most {most}")
    else:
        goals.at_most("    429s a window", share, throttles, "{:.1f}", f"most {most}", slack=1.0)


def test_a_window_costs_little_but_its_wait(paced, goals):
    """Six windows of fifty; the ideal is (windows - 1) x window + the slowest job of the last one."""
    case = CASES["with header"]
    best = ideal.wall_s(case.options, case.rows, case.at_once)
    judge(goals, paced, "with header", best, wall=1.05, throttles=2.0)
    assert goals.missed == []


@pytest.mark.parametrize("name", HARDER)
def test_a_service_that_tells_less_or_changes_is_kept_up_with(paced, goals, name):
    case = CASES[name]
    judge(
        goals,
        paced,
        name,
        ideal.wall_s(case.options, case.rows, case.at_once),
        wall=1.10,
        throttles=25.0,
    )
    assert goals.missed == []


def lost(result):
    """Return how many records were asked for too late, and how many rows ended so."""
    return result.counts["calls"]["gone"] + result.summary["expired"]


def test_calls_that_count_are_not_wasted(paced, goals):
    """Three calls a job are needed: submit, status, result; see ideal.counted_wall_s."""
    case, result = CASES["GETs counted"], ran(paced, "GETs counted")
    judge(
        goals,
        paced,
        "GETs counted",
        ideal.counted_wall_s(case.options, case.rows),
        wall=1.15,
        throttles=None,
    )
    goals.at_most("    results expired", lost(result), 0, "{:.0f}")
    assert goals.missed == []


def test_no_paid_result_expires_however_slow_the_account(paced, goals):
    """All are in flight at once, their calls take 96 windows, a record lives for 60.

    First come, first served would ask for every result 64 windows after its submit.
    """
    name = "5 a window, GETs counted"
    case, result = CASES[name], ran(paced, name)
    best = ideal.counted_wall_s(case.options, case.rows)
    what = f"{case.rows} jobs, 5 per {case.options.window_s:g} s, GETs counted"
    goals.at_most(f"{what}: results expired", lost(result), 0, "{:.0f}")
    goals.tell(
        "    wall ÷ ideal", f"{result.cost.wall_s / best:.3f}  ideal {best:.1f} s, here {result.spent}"
    )
    assert goals.missed == []
