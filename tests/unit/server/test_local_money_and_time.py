"""Windows, account, job states and latencies: pure, on a clock that is given."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.server.settings import LocalSettings
from batch.server.simulation.account import RateWindow, SimulatedAccount, price
from batch.server.simulation.jobs import (
    Completed,
    Failed,
    InvalidJobTransition,
    Job,
    Jobs,
    Processing,
    Queued,
)
from batch.server.simulation.latency import NEVER, SeededRandom, WorkerSlots, duration_s, start_s


def job(request_id="r1", ordinal=0, at=1000.0):
    body = {"prompt": "chair"}
    return Job(request_id, ordinal, "m", body, 7, 30_000, at, "v2", "")


def test_a_window_opens_with_its_first_call_and_admits_its_limit():
    window = RateWindow()
    taken = [window.take(now, 2, 60.0) for now in (100.0, 130.0, 159.9)]
    assert [verdict.allowed for verdict in taken] == [True, True, False]
    assert [verdict.remaining for verdict in taken] == [1, 0, 0]
    assert {verdict.resets_at for verdict in taken} == {160.0}


def test_the_next_window_opens_when_the_last_one_has_closed():
    window = RateWindow()
    window.take(100.0, 1, 60.0)
    assert window.take(160.0, 1, 60.0).allowed
    assert window.take(160.0, 1, 60.0).resets_at == 220.0


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(1, 5))
def test_no_window_admits_more_than_its_limit(gaps, limit):
    """However the calls fall, between two openings at most `limit` pass."""
    window, now, admitted = RateWindow(), 0.0, {}
    for gap in gaps:
        now += gap
        verdict = window.take(now, limit, 60.0)
        admitted[verdict.resets_at] = admitted.get(verdict.resets_at, 0) + verdict.allowed
    assert all(count <= limit for count in admitted.values())


def test_a_job_is_billed_when_it_completes_and_not_when_it_fails():
    account = SimulatedAccount(balance=100, limit=None)
    account.reserve("a", 30)
    account.reserve("b", 30)
    account.settle("a")
    account.release("b")
    assert (account.balance, account.billed, account.held) == (70, 30, 0)


def test_a_submit_is_refused_below_the_price_and_not_only_at_zero():
    account = SimulatedAccount(balance=50, limit=None)
    assert account.refuses(30) is None
    account.reserve("a", 30)
    assert account.refuses(30) == "credits"  # 20 are left beside what is reserved
    account.release("a")
    assert account.refuses(30) is None


def test_the_team_limit_counts_what_is_billed_and_what_is_reserved():
    account = SimulatedAccount(balance=1000, limit=70)
    account.reserve("a", 30)
    account.settle("a")
    account.reserve("b", 30)
    assert account.refuses(30) == "limit"
    assert account.refuses(10) is None


def test_a_job_cannot_be_settled_twice():
    account = SimulatedAccount(balance=100, limit=None)
    account.reserve("a", 30)
    account.settle("a")
    with pytest.raises(KeyError):
        account.settle("a")


@given(st.integers(), st.floats(0, 1))
def test_prices_are_whole_micro_dollars_within_their_spread(seed, spread):
    cost = price(0.03, spread, random.Random(seed))
    assert isinstance(cost, int)
    assert 30_000 * (1 - spread) - 1 <= cost <= 30_000 * (1 + spread) + 1


@pytest.mark.parametrize(
    ("states", "last"),
    [
        ((Processing(1.0), Completed(1.0, 2.0, 0, "f", 1)), "COMPLETED"),
        ((Processing(1.0), Failed(1.0, 2.0, "why")), "FAILED"),
    ],
)
def test_a_job_goes_from_queued_over_processing_to_an_end(states, last):
    jobs = Jobs()
    jobs.accept(queued := job())
    for state in states:
        jobs.transition(queued, state)
    assert jobs.find("r1").state.name == last
    for state in (Queued(), Processing(3.0), Failed(1.0, 3.0, "again")):
        with pytest.raises(InvalidJobTransition):
            jobs.transition(queued, state)
    assert jobs.find("r1").state.name == last


def test_a_queued_job_cannot_end_without_having_been_processed():
    jobs = Jobs()
    jobs.accept(queued := job())
    with pytest.raises(InvalidJobTransition, match="r1: QUEUED → FAILED"):
        jobs.transition(queued, Failed(1.0, 2.0, "why"))


def test_polls_see_a_record_for_its_lifetime_since_the_submit():
    jobs = Jobs()
    jobs.accept(job(at=1000.0))
    assert jobs.poll("r1", 4599.9, 3600.0) is not None
    assert jobs.poll("r1", 4600.0, 3600.0) is None
    assert jobs.find("r1") is not None  # the history still knows it
    assert jobs.poll("r2", 1000.0, 3600.0) is None


def test_draws_repeat_under_a_seed_whatever_was_drawn_before():
    one, two = SeededRandom(5), SeededRandom(5)
    two.request_id(0)
    assert one.request_id(3) == two.request_id(3) != SeededRandom(6).request_id(3)
    assert SeededRandom(None).request_id(0) != SeededRandom(None).request_id(0)


def test_latencies_follow_their_model():
    chance = SeededRandom(1)
    assert duration_s(LocalSettings(latency="work"), chance, 0) == 0.0
    assert duration_s(LocalSettings(latency="fixed", latency_s=2.5), chance, 0) == 2.5
    spread = LocalSettings(latency="lognormal", latency_s=20.0, latency_sigma=0.5)
    drawn = sorted(duration_s(spread, chance, n) for n in range(999))
    assert drawn == sorted(duration_s(spread, SeededRandom(1), n) for n in range(999))
    assert 18.0 < drawn[499] < 22.0  # the median is latency_s; its standard error is 0.4
    assert 25.0 < drawn[839] < 42.0  # one sigma above: 20 · e^0.5 = 33


@pytest.mark.parametrize(
    ("last_used", "now", "expected"),
    [
        pytest.param(NEVER, 0.0, 90.0, id="the first job of a worker"),
        pytest.param(100.0, 150.0, 0.0, id="a warm worker"),
        pytest.param(100.0, 400.0, 90.0, id="idle for too long"),
    ],
)
def test_a_cold_worker_takes_its_time(last_used, now, expected):
    settings = LocalSettings(cold_start_s=90.0, cold_after_s=300.0)
    assert start_s(settings, last_used, now) == expected


def test_workers_are_bounded_and_the_warmest_comes_first():
    async def scene():
        slots, clock = WorkerSlots(2), iter([10.0, 20.0])
        async with slots.worker(lambda: next(clock)) as first:
            async with slots.worker(lambda: next(clock)) as second:
                third = asyncio.create_task(slots.worker(lambda: 30.0).__aenter__())
                await asyncio.sleep(0)
                waiting = not third.done()
            await asyncio.sleep(0)
        return first, second, waiting, await third

    assert asyncio.run(scene()) == (NEVER, NEVER, True, 10.0)
