"""A thousand jobs of five seconds, two hundred in flight: how near the wall comes to the ideal, and at what cost.

The wall is the command's, start-up and report included, over list scheduling of the same job times. CPU is counted
beside the official SDK in threads and bare aiohttp with perfect knowledge, in the same session on the same jobs: on
another machine all three change alike.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import driving
import ideal
import pytest
from counting import Counting
from counting.options import FAR, Options
from tiers import seconds, size

pytestmark = pytest.mark.benchmark

ROWS = size(1000)
AT_ONCE = size(200)
JOB_S = seconds(5.0)
OPTIONS = Options(host=FAR, median_s=JOB_S, sigma=0.3)
NAME = f"{ROWS} jobs of {JOB_S:g} s, {AT_ONCE} in flight"

WALL = 1.08
POLLS = 5.0
LAG_PERCENT = 8.0
CPU = 0.5


def measured(folder, run, *more):
    with Counting(OPTIONS) as service:
        return run(service, driving.manifest(folder, ROWS), *more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("waves")


@pytest.fixture(scope="module")
def ours(folder):
    """The command, alone on the machine: its wall is judged."""
    return measured(folder / "ours", driving.command, "--concurrency", AT_ONCE)


@pytest.fixture(scope="module")
def others(folder, ours):
    """The SDK and the floor, side by side, after ours."""
    assert ours.cost.code == 0, ours.cost.told
    with ThreadPoolExecutor(2) as pool:
        sdk = pool.submit(measured, folder / "sdk", driving.sdk, AT_ONCE)
        floor = pool.submit(measured, folder / "floor", driving.floor, AT_ONCE)
        return sdk.result(), floor.result()


def polls(ran):
    return ran.counts["calls"]["status"] / ROWS


def test_the_wall_is_near_the_ideal(ours, goals):
    assert ours.cost.code == 0, ours.cost.told
    best = ideal.wall_s(OPTIONS, ROWS, AT_ONCE)
    more = f"ideal {best:.1f} s, here {ours.spent}"
    goals.at_most(f"{NAME}: wall ÷ ideal", ours.cost.wall_s / best, WALL, "{:.3f}", more, slack=0.2)
    assert goals.missed == []


def test_few_polls_find_a_job_soon_after_its_end(ours, goals):
    assert ours.cost.code == 0, ours.cost.told
    goals.at_most("    status calls a job", polls(ours), POLLS, slack=0.2)
    goals.at_most("    mean lag, % of job time", 100 * ours.lag_share, LAG_PERCENT, "{:.1f}", slack=0.5)
    assert goals.missed == []


def test_a_job_costs_less_cpu_than_with_the_sdk_in_threads(ours, others, goals):
    assert ours.cost.code == 0, ours.cost.told
    sdk, floor = others
    own, threads, bare = (1000 * cost.cpu_s / ROWS for cost in (ours.cost, sdk, floor))
    more = f"{own:.1f} ms, SDK {threads:.1f} ms, bare aiohttp {bare:.1f} ms"
    label = f"    CPU a job ÷ official SDK in {AT_ONCE} threads"
    goals.at_most(label, own / threads, CPU, more=more, slack=1.0)  # never dearer than the SDK
    goals.tell("    CPU a job ÷ bare aiohttp that knows the job times", f"{own / bare:.2f}")
    assert goals.missed == []
