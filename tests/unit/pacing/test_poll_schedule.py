"""When to look again: by hand and by property."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.config import CAREFUL, NEARBY
from batch.pacing.poll_schedule import ENOUGH, MEMORY, PollSchedule, PollSchedules


def learned(*times, limits=CAREFUL):
    """A schedule to which the service reported these times, each found at a second poll."""
    schedule = PollSchedule(limits)
    for time in times:
        schedule.learn(time, time - 1, 0.0, time)
    return schedule


def tick_of(schedule):
    """How far apart the moments are at which polls may be due."""
    dues = sorted({schedule.next_poll_at(now / 32, 0.0, 0) for now in range(96)})
    return min(later - due for due, later in pairwise(dues))


@pytest.mark.parametrize(
    ("age", "gap"),
    [
        (0, 1.5),  # 0.2 x 0 = 0, at least 1.5
        (7.5, 1.5),  # 0.2 x 7.5 = 1.5
        (30, 6.0),  # 0.2 x 30
        (50, 10.0),  # 0.2 x 50
        (600, 10.0),  # 0.2 x 600 = 120, at most 10
    ],
)
def test_nothing_learned_yet(age, gap):
    assert gap == PollSchedule().gap(age, 1)


def test_seven_jobs_teach_nothing_yet_and_eight_do():
    assert learned(*[20.0] * (ENOUGH - 1)).gap(0, 0) == 1.5
    assert learned(*[20.0] * ENOUGH).gap(0, 0) == 20.0


# Times 11 … 110: q10 is the time at place int(0.1 x 100) = 10, so 21; q90 at place 90, so 101.
HUNDRED = [float(n) for n in range(11, 111)]


@pytest.mark.parametrize(
    ("age", "polls", "gap"),
    [
        pytest.param(0, 0, 21.0, id="the first poll at q10"),
        pytest.param(5, 0, 16.0, id="21 - 5"),
        pytest.param(20.5, 0, 1.0, id="0.5 s are left to q10: the floor"),
        pytest.param(30, 0, 7.5, id="q10 is over: (101 - 21) / 6.5 = 12.3, but at most 25 % of 30"),
        pytest.param(36, 1, 9.0, id="25 % of 36"),
        pytest.param(60, 1, 10.0, id="12.3, but at most 10"),
        pytest.param(2, 1, 1.0, id="25 % of 2 = 0.5: the floor"),
        pytest.param(300, 3, 10.0, id="beyond q90 10 % of 300 = 30, but at most 10"),
    ],
)
def test_gaps_of_a_learner_that_saw_a_hundred_jobs(age, polls, gap):
    assert gap == pytest.approx(learned(*HUNDRED).gap(age, polls))


def test_beyond_q90_the_gap_is_a_tenth_of_the_age():
    """All took 24 s: (24 - 24) / 6.5 = 0, so the floor of 0.04 x 24 = 0.96 up to there, and 10 % of 60 = 6 beyond."""
    schedule = learned(*[24.0] * 10)
    assert (pytest.approx(schedule.gap(24, 1)), pytest.approx(schedule.gap(60, 3))) == (0.96, 6.0)


@pytest.mark.parametrize(
    ("usual", "floor"),
    [(1.0, 0.2), (10.0, 0.4), (24.0, 0.96), (25.0, 1.0), (300.0, 1.0)],  # 0.04 x usual, 0.2 … 1
)
def test_the_floor_is_a_share_of_the_usual_time(usual, floor):
    assert learned(*[usual] * 10).gap(usual, 1) == pytest.approx(floor)


@pytest.mark.parametrize(
    ("usual", "tick_s"),
    [(1.0, 0.125), (5.0, 0.25), (7.9, 0.25), (8.1, 0.5), (24.0, 1.0), (300.0, 1.0)],
)
def test_the_tick_is_a_power_of_two_at_most_a_sixteenth_of_the_usual_time(usual, tick_s):
    """0.0625 x usual within 0.2 … 1, and then the next power of two below."""
    assert tick_of(learned(*[usual] * 10)) == tick_s


@pytest.mark.parametrize(
    ("now", "age", "due"),
    [
        pytest.param(100.0, 0.0, 124.0, id="a gap of 24 s ends on a tick"),
        pytest.param(100.4, 0.0, 124.0, id="124.4 is nearer to 124"),
        pytest.param(100.6, 0.0, 125.0, id="124.6 is nearer to 125"),
        pytest.param(100.0, 24.0, 101.0, id="a gap of 0.96 s"),
        pytest.param(100.5, 24.0, 101.0, id="101.46 is nearer to 101"),
    ],
)
def test_polls_are_due_on_the_nearest_tick(now, age, due):
    """All took 24 s, so a tick is a second."""
    assert learned(*[24.0] * 10).next_poll_at(now, age, 1 if age else 0) == due


AGES = st.floats(0, 1e5)
TIMES = st.lists(st.floats(0.01, 4000), max_size=MEMORY + 20)


@given(TIMES, AGES, st.integers(0, 50), st.sampled_from([CAREFUL, NEARBY]))
def test_never_under_the_floor_and_after_the_first_poll_never_over_the_ceiling(times, age, polls, limits):
    gap = learned(*times, limits=limits).gap(age, polls)
    assert gap >= limits.lowest
    if polls or len(times) < ENOUGH:
        assert gap <= limits.ceiling


@given(TIMES, AGES, st.integers(0, 50), st.sampled_from([CAREFUL, NEARBY]), st.floats(0, 1e7), st.booleans())
def test_a_poll_is_due_after_now_and_within_a_tick_of_the_end_of_its_gap(
    times, age, polls, limits, now, rate_limited
):
    schedule = learned(*times, limits=limits)
    due = schedule.next_poll_at(now, age, polls, rate_limited=rate_limited)
    assert due > now
    tick_s = tick_of(schedule)
    assert due == pytest.approx(now + schedule.gap(age, polls, rate_limited=rate_limited), abs=tick_s + 1e-6)
    assert due % tick_s == 0


@given(TIMES, AGES, st.integers(1, 50))
def test_after_the_first_poll_never_over_a_quarter_of_the_age(times, age, polls):
    if len(times) >= ENOUGH:
        assert learned(*times).gap(age, polls) <= max(0.25 * age, CAREFUL.highest)


@pytest.mark.parametrize(
    ("age", "polls", "gap"),
    [
        pytest.param(0, 0, 106.0, id="the first poll at q95"),
        pytest.param(100, 1, 25.0, id="then a quarter of the age"),
        pytest.param(20, 1, 12.2, id="a fifth of the usual 61 s at least"),
    ],
)
def test_where_polls_count_there_are_few(age, polls, gap):
    assert learned(*HUNDRED).gap(age, polls, rate_limited=True) == pytest.approx(gap)


def test_where_polls_count_and_nothing_is_learned_the_gap_is_the_longest():
    assert PollSchedule().gap(0, 0, rate_limited=True) == CAREFUL.ceiling


def test_each_size_is_learned_by_itself_and_the_median_is_of_all():
    polls = PollSchedules(times={"1:1": [10.0] * 6})
    assert polls.median() is None
    for _ in range(ENOUGH):
        polls.by_size["21:9"].learn(40.0, 39.0, 0.0, 40.0)
    assert polls.by_size["21:9"].gap(0, 0) == 40.0
    assert polls.by_size["1:1"].gap(0, 0) == CAREFUL.first  # six are not enough
    assert polls.median() == 40.0
    assert polls.times == {"1:1": (10.0,) * 6, "21:9": (40.0,) * 8}
    assert PollSchedules(times=polls.times).by_size["21:9"].gap(0, 0) == 40.0


def test_a_job_without_figures_counts_as_the_middle_of_its_last_two_polls():
    schedule = PollSchedule()
    for _ in range(ENOUGH):
        schedule.learn(30.0, 20.0, 0.0, None)
    assert schedule.gap(0, 0) == 25.0


def test_a_job_found_done_at_the_first_poll_was_faster_than_that():
    """0.85 x 20 = 17, and the scale after eight such jobs is 0.8^8 = 0.168: 17 x 0.168 = 2.85."""
    schedule = PollSchedule()
    for _ in range(ENOUGH):
        schedule.learn(20.0, None, 0.0, None)
    assert schedule.gap(0, 0) == pytest.approx(17 * 0.8**8)


def test_a_poll_that_was_held_back_teaches_nothing():
    schedule = PollSchedule()
    for _ in range(ENOUGH):
        schedule.learn(500.0, None, 3.1, None)
    assert repr(schedule) == "<PollSchedule learning>"


def test_the_services_own_figure_is_learned_whenever_the_poll_was_sent_and_leaves_no_guesswork():
    schedule = PollSchedule()
    for _ in range(ENOUGH):
        schedule.learn(2000.0, None, float("inf"), 20.0)
        schedule.learn(2000.0, None, 0.0, 20.0)
    assert schedule.gap(0, 0) == 20.0


def test_the_learner_notices_when_jobs_become_faster():
    """From 60 s to 10 s: the scale leads the first poll down until the new times fill the memory."""
    schedule = learned(*[60.0] * MEMORY)
    first = []
    for _ in range(MEMORY):
        due = schedule.gap(0, 0)
        first.append(due)
        age, polls, previous = due, 1, None
        while age < 10.0:
            previous, age, polls = age, age + schedule.gap(age, polls), polls + 1
        schedule.learn(age, previous, 0.0, None)
    assert first[0] == 60.0
    assert first[10] < 15
    assert max(first[-20:]) < 12


def test_only_the_last_hundred_jobs_count():
    assert learned(*[1000.0] * 50, *[20.0] * MEMORY).gap(0, 0) == 20.0


def test_its_repr_tells_what_it_learned():
    assert repr(learned(*HUNDRED)) == "<PollSchedule q10 21.0s q90 101.0s>"


@pytest.mark.parametrize("total", [23_400.0, 3600.0, 31.1, 0.0, 0.023, 6.0, 8.9])
def test_a_figure_that_our_own_watch_refutes_is_not_learned(total):
    """The job was at work at 20 s and done at 30 s: it took about 25 s."""
    schedule = PollSchedule()
    for _ in range(ENOUGH):
        schedule.learn(30.0, 20.0, 0.0, total)
    assert tuple(schedule.times) == (25.0,) * ENOUGH


@pytest.mark.parametrize("total", [30.9, 25.0, 12.0])
def test_a_figure_that_our_own_watch_allows_is_learned(total):
    schedule = PollSchedule()
    schedule.learn(30.0, 20.0, 0.0, total)
    assert tuple(schedule.times) == (total,)


def test_a_figure_that_is_refuted_takes_with_it_what_was_learned_from_its_like():
    """Of jobs that nobody watched: one of 2.3 s is told as 2340, and was looked at after 3000 s."""
    schedule = PollSchedule()
    for _ in range(ENOUGH):
        schedule.learn(3000.0, None, float("inf"), 2340.0)
    assert schedule.gap(0, 0) == 120.0  # however sure it is, it looks after two minutes
    schedule.learn(120.0, None, 0.0, 2340.0)
    assert schedule.gap(0, 0) == CAREFUL.first


@pytest.mark.parametrize("rate_limited", [False, True])
def test_the_first_poll_never_waits_for_longer_than_two_minutes(rate_limited):
    assert PollSchedule(CAREFUL, [3000.0] * ENOUGH).gap(0, 0, rate_limited=rate_limited) <= max(
        120.0, 0.2 * 3000.0
    )
    assert PollSchedule(CAREFUL, [3000.0] * ENOUGH).gap(0, 0) == 120.0
