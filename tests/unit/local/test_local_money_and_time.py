"""Windows, account, job states and latencies: pure, on a clock that is given."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.local.billing import Bank, price
from batch.local.dice import Dice
from batch.local.jobs import Completed, Failed, IllegalMove, Job, Jobs, Processing, Queued
from batch.local.latency import NEVER, Slots, duration_s, start_s
from batch.local.limits import Windows
from batch.local.settings import LocalSettings


def job(request_id="r1", ordinal=0, at=1000.0):
    body = {"prompt": "chair"}
    return Job(request_id, ordinal, "m", body, 7, 30_000, at, "v2", "")


def test_a_window_opens_with_its_first_call_and_admits_its_limit():
    windows = Windows()
    taken = [windows.take("key", now, 2, 60.0) for now in (100.0, 130.0, 159.9)]
    assert [verdict.allowed for verdict in taken] == [True, True, False]
    assert [verdict.remaining for verdict in taken] == [1, 0, 0]
    assert {verdict.resets_at for verdict in taken} == {160.0}


def test_the_next_window_opens_when_the_last_one_has_closed():
    windows = Windows()
    windows.take("key", 100.0, 1, 60.0)
    assert windows.take("key", 160.0, 1, 60.0).allowed
    assert windows.take("key", 160.0, 1, 60.0).resets_at == 220.0


def test_each_key_has_its_own_window():
    windows = Windows()
    assert windows.take("one", 0.0, 1, 60.0).allowed
    assert windows.take("two", 0.0, 1, 60.0).allowed


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(1, 5))
def test_no_window_admits_more_than_its_limit(gaps, limit):
    """However the calls fall, between two openings at most `limit` pass."""
    windows, now, admitted = Windows(), 0.0, {}
    for gap in gaps:
        now += gap
        verdict = windows.take("key", now, limit, 60.0)
        admitted[verdict.resets_at] = admitted.get(verdict.resets_at, 0) + verdict.allowed
    assert all(count <= limit for count in admitted.values())


def test_a_job_is_billed_when_it_completes_and_not_when_it_fails():
    bank = Bank(balance=100, limit=None)
    bank.reserve("a", 30)
    bank.reserve("b", 30)
    bank.settle("a")
    bank.release("b")
    assert (bank.balance, bank.billed, bank.held) == (70, 30, 0)


def test_a_submit_is_refused_below_the_price_and_not_only_at_zero():
    bank = Bank(balance=50, limit=None)
    assert bank.refuses(30) is None
    bank.reserve("a", 30)
    assert bank.refuses(30) == "credits"  # 20 are left beside what is reserved
    bank.release("a")
    assert bank.refuses(30) is None


def test_the_team_limit_counts_what_is_billed_and_what_is_reserved():
    bank = Bank(balance=1000, limit=70)
    bank.reserve("a", 30)
    bank.settle("a")
    bank.reserve("b", 30)
    assert bank.refuses(30) == "limit"
    assert bank.refuses(10) is None


def test_a_job_cannot_be_settled_twice():
    bank = Bank(balance=100, limit=None)
    bank.reserve("a", 30)
    bank.settle("a")
    with pytest.raises(KeyError):
        bank.settle("a")


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
    jobs.accept(job())
    for state in states:
        jobs.move("r1", state)
    assert jobs.find("r1")[1].name == last
    for state in (Queued(), Processing(3.0), Failed(1.0, 3.0, "again")):
        with pytest.raises(IllegalMove):
            jobs.move("r1", state)
    assert jobs.find("r1")[1].name == last


def test_a_queued_job_cannot_end_without_having_been_processed():
    jobs = Jobs()
    jobs.accept(job())
    with pytest.raises(IllegalMove, match="r1: QUEUED → FAILED"):
        jobs.move("r1", Failed(1.0, 2.0, "why"))


def test_polls_see_a_record_for_its_lifetime_since_the_submit():
    jobs = Jobs()
    jobs.accept(job(at=1000.0))
    assert jobs.poll("r1", 4599.9, 3600.0) is not None
    assert jobs.poll("r1", 4600.0, 3600.0) is None
    assert jobs.find("r1") is not None  # the history still knows it
    assert jobs.poll("r2", 1000.0, 3600.0) is None


def test_draws_repeat_under_a_seed_whatever_was_drawn_before():
    one, two = Dice(5), Dice(5)
    two.request_id(0)
    assert one.request_id(3) == two.request_id(3) != Dice(6).request_id(3)
    assert Dice(None).request_id(0) != Dice(None).request_id(0)


def test_latencies_follow_their_model():
    dice = Dice(1)
    assert duration_s(LocalSettings(latency="work"), dice, 0) == 0.0
    assert duration_s(LocalSettings(latency="fixed", latency_s=2.5), dice, 0) == 2.5
    spread = LocalSettings(latency="lognormal", latency_s=20.0, latency_sigma=0.5)
    drawn = sorted(duration_s(spread, dice, n) for n in range(999))
    assert drawn == sorted(duration_s(spread, Dice(1), n) for n in range(999))
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
        slots, clock = Slots(2), iter([10.0, 20.0])
        async with slots.worker(lambda: next(clock)) as first:
            async with slots.worker(lambda: next(clock)) as second:
                third = asyncio.create_task(slots.worker(lambda: 30.0).__aenter__())
                await asyncio.sleep(0)
                waiting = not third.done()
            await asyncio.sleep(0)
        return first, second, waiting, await third

    assert asyncio.run(scene()) == (NEVER, NEVER, True, 10.0)
