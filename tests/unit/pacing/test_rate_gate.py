"""Policy G, on times handed in."""

import math

import pytest

from batch.core.config import Rate, Timeouts
from batch.core.errors import UsageError
from batch.pacing.limiter import (
    CREEP,
    JOB_DONE_S,
    LONGEST_CLOSED_S,
    LONGEST_S,
    WIDEST,
    AccountLimits,
    Priority,
    RateGate,
    Throttled,
    cool_down,
)

T0 = 1_800_000_000.0


@pytest.mark.parametrize(
    ("reply", "local", "expected"),
    [
        pytest.param(Throttled(T0 + 30, T0, None), T0, 30.0, id="clocks agree"),
        pytest.param(Throttled(T0 + 30, T0, None), T0 - 3600, 30.0, id="our clock an hour behind"),
        pytest.param(Throttled(T0 + 30, T0, None), T0 + 3600, 30.0, id="our clock an hour ahead"),
        pytest.param(Throttled(T0, T0, None), T0, 0.0, id="a reset within this second"),
        pytest.param(Throttled(T0 - 5, T0, None), T0, None, id="a reset in the past says nothing"),
        pytest.param(Throttled(T0 - 5, T0, 12.0), T0, 12.0, id="a reset in the past, but Retry-After"),
        pytest.param(Throttled(T0 + 7200, T0, None), T0, LONGEST_CLOSED_S, id="a reset far away: clamped"),
        pytest.param(Throttled(T0 + 30, None, None), T0, 30.0, id="no Date"),
        pytest.param(Throttled(T0 + 30, None, None), T0 - 600, LONGEST_S, id="no Date, our clock behind: clamped"),
        pytest.param(Throttled(T0 + 30, None, None), T0 + 600, None, id="no Date, our clock ahead"),
        pytest.param(Throttled(None, T0, 12.0), T0, 12.0, id="Retry-After"),
        pytest.param(Throttled(None, T0, 7200.0), T0, LONGEST_CLOSED_S, id="Retry-After far away: clamped"),
        pytest.param(Throttled(T0 + 30, T0, 12.0), T0, 30.0, id="the vendor's header goes before Retry-After"),
        pytest.param(Throttled(None, T0, None), T0, None, id="nothing said"),
    ],
)  # fmt: skip
def test_the_time_until_the_announced_reset(reply, local, expected):
    assert expected == cool_down(reply, local)


def close(gate, now, wait_s, *, flying=0, on_get=False):
    gate.throttled(now, wait_s, jobs_in_flight=flying, on_get=on_get)


def window(gate, number, now=0.0, *, submit=True):
    """Let a number of requests through at one moment."""
    for _ in range(number):
        gate.on_success(now, submit=submit)


def opens(gate, now, turn=Priority.SUBMIT, *, busy=0, flying=0):
    return gate.earliest_send(turn, now, busy, flying)


def test_a_429_closes_the_gate_and_later_ones_only_extend_it():
    gate = RateGate()
    close(gate, 100.0, 30.0)
    assert opens(gate, 100.0) == 130.0 + Timeouts().reset_margin_s
    close(gate, 101.0, 5.0)
    assert opens(gate, 101.0) == 130.0 + Timeouts().reset_margin_s
    close(gate, 102.0, 40.0)
    assert opens(gate, 102.0) == 142.0 + Timeouts().reset_margin_s
    assert gate.throttles == 3


@pytest.mark.parametrize(
    ("accepted", "width"),
    [(0, 1), (5, 1), (29, 1), (30, 2), (50, 3), (119, 7), (120, 8), (600, 8)],  # accepted // 15, 1 … 8
)
def test_after_a_429_the_width_is_a_share_of_the_last_window(accepted, width):
    gate = RateGate()
    window(gate, accepted, 99.0)
    assert gate.max_parallel(99.0) == WIDEST
    close(gate, 100.0, 30.0)
    assert gate.max_parallel(131.0) == width
    assert opens(gate, 131.0, busy=width - 1) <= 131.0
    assert opens(gate, 131.0, busy=width) == math.inf


def test_the_width_follows_a_limit_that_grows_within_the_window():
    gate = RateGate()
    window(gate, 15)
    close(gate, 1.0, 30.0)
    assert gate.max_parallel(32.0) == 1
    window(gate, 60, 32.0)
    assert gate.max_parallel(33.0) == 4


def test_gets_count_from_the_first_429_on_a_get():
    gate = RateGate()
    close(gate, 0.0, 1.0)
    assert not gate.counts_gets
    close(gate, 0.0, 1.0, on_get=True)
    close(gate, 0.0, 1.0)
    assert (gate.counts_gets, gate.get_throttles) == (True, 1)


# -- the limit ---------------------------------------------------------------------------------------------------------


def test_the_limit_is_what_was_let_through_until_the_429():
    gate = RateGate()
    window(gate, 50, 10.0)
    close(gate, 11.0, 40.0)
    assert gate.limit == 50


def test_a_window_that_is_no_minute_is_measured_from_opening_to_opening():
    gate = RateGate()
    window(gate, 50, 10.0)
    close(gate, 11.0, 9.0)
    window(gate, 50, 21.0)
    close(gate, 22.0, 18.3)  # opens 20.3 s after it opened last
    assert gate.limit == pytest.approx(50 * 60 / 20.3)


def test_a_lower_limit_is_learned_and_a_higher_one_noticed_without_a_429():
    gate = RateGate()
    window(gate, 50, 10.0)
    close(gate, 11.0, 49.0)
    window(gate, 20, 61.0)
    close(gate, 62.0, 58.0)
    assert gate.limit == pytest.approx(20, rel=0.01)
    window(gate, 100, 121.0)
    assert gate.limit == 100


def test_a_429_before_anything_was_let_through_says_nothing_of_the_limit():
    gate = RateGate()
    close(gate, 10.0, 20.0)
    assert gate.limit is None


def test_what_an_earlier_run_found_out_is_believed():
    gate = RateGate(known=AccountLimits(limit=5.0, counts_gets=True))
    assert (gate.limit, gate.counts_gets) == (5.0, True)


# -- no header ---------------------------------------------------------------------------------------------------------


def test_without_a_header_one_probes_after_a_while_or_soon_after_a_job_has_ended():
    gate = RateGate()
    window(gate, 10)
    close(gate, 100.0, None, flying=10)
    assert opens(gate, 100.0, flying=10) == 100.0 + Timeouts().probe_s
    assert gate.max_parallel(106.0) == 1
    gate.on_job_done(101.0)
    assert opens(gate, 101.0, flying=9) == 101.0 + JOB_DONE_S
    close(gate, 102.0, None, flying=9)
    assert opens(gate, 102.0, flying=9) == 102.0 + Timeouts().probe_s


def test_a_job_that_ends_opens_no_gate_that_was_closed_until_an_announced_time():
    gate = RateGate()
    window(gate, 20)
    close(gate, 10.0, None, flying=20)
    close(gate, 10.2, 50.0, flying=20)
    gate.on_job_done(11.0)
    assert opens(gate, 11.0, flying=19) == 60.2 + Timeouts().reset_margin_s
    close(gate, 61.0, None, flying=19)
    gate.on_job_done(61.5)
    assert opens(gate, 61.5, flying=18) == 61.5 + JOB_DONE_S


def test_a_job_that_ends_does_not_bring_the_connection_back():
    gate = RateGate()
    close(gate, 10.0, None, flying=20)
    gate.unreachable(15.0)
    gate.unreachable(16.0)
    gate.on_job_done(16.5)
    assert opens(gate, 16.5, flying=19) == 18.0  # 16 + 2


def test_jobs_in_flight_at_the_first_refusal_are_a_ceiling_that_creeps_up_again():
    gate = RateGate()
    window(gate, 10)
    close(gate, 100.0, None, flying=10)
    close(gate, 105.0, None, flying=4)  # the same episode: a full window, not the jobs in flight
    assert gate.ceiling == 10
    gate.on_success(110.0, submit=True)
    assert opens(gate, 110.0, flying=5) <= 110.0
    assert opens(gate, 110.0, flying=11) == math.inf
    assert opens(gate, 110.0, Priority.STATUS, flying=11) <= 110.0  # a GET adds nothing in flight
    window(gate, round(1 / CREEP), 111.0)
    assert opens(gate, 111.0, flying=11) <= 111.0


def test_the_width_is_halved_while_there_is_a_ceiling():
    gate = RateGate()
    window(gate, 60)
    close(gate, 1.0, None, flying=60)
    gate.on_success(7.0, submit=True)
    assert gate.max_parallel(7.0) == 2  # 60 // 15 // 2


def test_a_probe_that_asked_for_a_status_is_as_good_as_a_submit():
    gate = RateGate()
    close(gate, 1.0, None, on_get=True)
    gate.on_success(7.0, submit=False)
    gate.on_job_done(8.0)
    assert opens(gate, 8.0, Priority.RESULT) <= 8.0
    assert gate.max_parallel(8.0) == 1  # nothing was let through before


# -- a rate that a person gave -----------------------------------------------------------------------------------------


def test_a_given_rate_holds_in_any_window_and_for_submits_only():
    gate = RateGate(Rate(2, 60.0))
    for now in (0.0, 10.0):
        assert opens(gate, now) <= now
        gate.on_send(Priority.SUBMIT, now)
    assert opens(gate, 11.0) == 60.0
    assert opens(gate, 11.0, Priority.STATUS) <= 11.0
    gate.on_send(Priority.SUBMIT, 60.0)
    assert opens(gate, 61.0) == 70.0


def test_a_given_rate_is_the_limit_until_a_429_knows_better():
    assert RateGate(Rate(10, 30.0)).limit == 20
    assert RateGate(Rate(10, 30.0), AccountLimits(limit=5.0)).limit == 5


@pytest.mark.parametrize("rate", [(0, 60.0), (5, 0.0), (10**9, 60.0)])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(UsageError, match="50/1m"):
        Rate(*rate)


# -- no connection -----------------------------------------------------------------------------------------------------


def test_no_connection_closes_the_gate_for_a_growing_while():
    gate = RateGate()
    waits, now = [], 0.0
    for number in range(1, 9):
        assert gate.unreachable(now) == number
        assert gate.unreachable(now) == number  # the others find out at the same time
        waits.append(gate.opens_at - now)
        now = gate.opens_at
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    gate.failed_connections = 0
    assert gate.unreachable(now) == 1
