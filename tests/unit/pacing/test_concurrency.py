"""How many jobs are in flight, by itself and with a ceiling."""

import pytest

from batch.pacing.limiter import GUARD, MOST, QUIET_S, START, AccountLimits, Concurrency, RateGate
from batch.pacing.poll_schedule import PollSchedules


def auto(gate=None, polls=None, **more):
    return Concurrency(MOST, gate or RateGate(), polls or PollSchedules(), auto=True, **more)


def learned(usual):
    return PollSchedules(times={"": [usual] * 20})


@pytest.mark.parametrize(
    ("limit", "usual", "in_flight"),
    [
        (50, 24.0, 50),
        (5, 24.0, 5),
        (600, 24.0, 600),
        (50, 5.0, 11),
        (50, 60.0, 125),
    ],  # ceil(2.5 x R x L / 60)
)
def test_a_known_limit_is_filled(limit, usual, in_flight):
    assert auto(RateGate(known=AccountLimits(limit=limit)), learned(usual)).allowed() == min(
        in_flight, GUARD * limit
    )


def test_where_gets_count_a_job_takes_three_calls():
    assert auto(RateGate(known=AccountLimits(limit=50, counts_gets=True)), learned(24.0)).allowed() == 17


@pytest.mark.parametrize(("asked", "limit", "in_flight"), [(200, None, 200), (200, 5, 75), (3, 50, 3)])
def test_a_number_is_a_ceiling_and_the_guard_goes_below_it(asked, limit, in_flight):
    gate = RateGate(known=AccountLimits(limit=limit))
    assert Concurrency(asked, gate, learned(24.0)).allowed() == in_flight


def test_without_a_known_limit_the_number_doubles_with_the_jobs_that_end():
    flight = auto(polls=learned(24.0))
    assert flight.allowed() == START
    for now in range(START):
        flight.ended(float(now), full=True)
    assert flight.allowed() == 2 * START
    for now in range(2000):
        flight.ended(float(now), full=True)
    assert flight.allowed() == MOST


def test_it_does_not_grow_when_there_is_room():
    flight = auto(polls=learned(24.0))
    for now in range(100):
        flight.ended(float(now), full=False)
    assert flight.allowed() == START


def test_it_does_not_grow_when_jobs_begin_to_take_longer():
    polls = PollSchedules(times={"": [10.0] * 100})
    flight = auto(polls=polls)
    flight.ended(0.0, full=True)
    for _ in range(100):
        polls.by_size[""].learn(16.0, 15.0, 0.0, 16.0)
    for now in range(100):
        flight.ended(float(now), full=True)
    assert flight.allowed() == START + 1


def test_a_429_that_tells_the_limit_ends_the_growing():
    gate = RateGate()
    flight = auto(gate, learned(24.0), start=300)
    assert flight.allowed() == 300
    for _ in range(20):
        gate.on_success(1.0, submit=True)
    gate.throttled(2.0, 30.0, jobs_in_flight=20, on_get=False)
    flight.throttled()
    assert flight.allowed() == 20
    assert flight.grown == 0


def test_a_429_that_tells_nothing_leaves_it_to_the_ceiling():
    gate = RateGate()
    flight = auto(gate, learned(24.0), start=300)
    gate.throttled(2.0, None, jobs_in_flight=20, on_get=False)
    flight.throttled()
    assert flight.allowed() == 300


def test_a_limit_that_is_met_no_more_is_outgrown():
    gate = RateGate(known=AccountLimits(limit=50))
    flight = auto(gate, learned(24.0))
    flight.ended(0.0, full=True)
    flight.ended(QUIET_S, full=True)
    assert flight.allowed() == 50
    flight.ended(QUIET_S + 1, full=True)
    assert flight.allowed() == 51


def test_there_is_always_one():
    assert auto(RateGate(known=AccountLimits(limit=0.01)), learned(1.0)).allowed() == 1
