"""When to look again: policy Q, by hand and by property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.remote.polls import CAREFUL, ENOUGH, MEMORY, NEARBY, PollLearner, Polls


def learned(*times, limits=CAREFUL):
    """A learner that was told these times by the service, each found at a second poll."""
    learner = PollLearner(limits)
    for time in times:
        learner.learn(time, time - 1, 0.0, time)
    return learner


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
    assert gap == PollLearner().gap(age, 1)


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
    learner = learned(*[24.0] * 10)
    assert (pytest.approx(learner.gap(24, 1)), pytest.approx(learner.gap(60, 3))) == (0.96, 6.0)


@pytest.mark.parametrize(
    ("usual", "floor"),
    [(1.0, 0.2), (10.0, 0.4), (24.0, 0.96), (25.0, 1.0), (300.0, 1.0)],  # 0.04 x usual, 0.2 … 1
)
def test_the_floor_is_a_share_of_the_usual_time(usual, floor):
    assert learned(*[usual] * 10).gap(usual, 1) == pytest.approx(floor)


@pytest.mark.parametrize(
    ("usual", "beat"),
    [(1.0, 0.125), (5.0, 0.25), (7.9, 0.25), (8.1, 0.5), (24.0, 1.0), (300.0, 1.0)],
)
def test_the_beat_is_a_power_of_two_at_most_a_sixteenth_of_the_usual_time(usual, beat):
    """0.0625 x usual within 0.2 … 1, and then the next power of two below."""
    assert learned(*[usual] * 10).beat == beat


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
    """All took 24 s, so the beat is a second."""
    assert learned(*[24.0] * 10).due(now, age, 1 if age else 0) == due


AGES = st.floats(0, 1e5)
TIMES = st.lists(st.floats(0.01, 4000), max_size=MEMORY + 20)


@given(TIMES, AGES, st.integers(0, 50), st.sampled_from([CAREFUL, NEARBY]))
def test_never_under_the_floor_and_after_the_first_poll_never_over_the_ceiling(times, age, polls, limits):
    gap = learned(*times, limits=limits).gap(age, polls)
    assert gap >= limits.lowest
    if polls or len(times) < ENOUGH:
        assert gap <= limits.ceiling


@given(TIMES, AGES, st.integers(0, 50), st.sampled_from([CAREFUL, NEARBY]), st.floats(0, 1e7), st.booleans())
def test_a_poll_is_due_after_now_and_within_a_beat_of_the_end_of_its_gap(
    times, age, polls, limits, now, sparing
):
    learner = learned(*times, limits=limits)
    due = learner.due(now, age, polls, sparing=sparing)
    assert due > now
    assert due == pytest.approx(now + learner.gap(age, polls, sparing=sparing), abs=learner.beat + 1e-6)
    assert due % learner.beat == 0


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
    assert learned(*HUNDRED).gap(age, polls, sparing=True) == pytest.approx(gap)


def test_where_polls_count_and_nothing_is_learned_the_gap_is_the_longest():
    assert PollLearner().gap(0, 0, sparing=True) == CAREFUL.ceiling


def test_each_size_is_learned_by_itself_and_the_median_is_of_all():
    polls = Polls(times={"1:1": [10.0] * 6})
    assert polls.median() is None
    for _ in range(ENOUGH):
        polls.of("21:9").learn(40.0, 39.0, 0.0, 40.0)
    assert polls.of("21:9").gap(0, 0) == 40.0
    assert polls.of("1:1").gap(0, 0) == CAREFUL.first  # six are not enough
    assert polls.median() == 40.0
    assert polls.times == {"1:1": (10.0,) * 6, "21:9": (40.0,) * 8}
    assert Polls(times=polls.times).of("21:9").gap(0, 0) == 40.0


def test_a_job_without_figures_counts_as_the_middle_of_its_last_two_polls():
    learner = PollLearner()
    for _ in range(ENOUGH):
        learner.learn(30.0, 20.0, 0.0, None)
    assert learner.gap(0, 0) == 25.0


def test_a_job_found_done_at_the_first_poll_was_faster_than_that():
    """0.85 x 20 = 17, and the scale after eight such jobs is 0.8^8 = 0.168: 17 x 0.168 = 2.85."""
    learner = PollLearner()
    for _ in range(ENOUGH):
        learner.learn(20.0, None, 0.0, None)
    assert learner.gap(0, 0) == pytest.approx(17 * 0.8**8)


def test_a_poll_that_was_held_back_teaches_nothing():
    learner = PollLearner()
    for _ in range(ENOUGH):
        learner.learn(500.0, None, 3.1, None)
    assert repr(learner) == "<PollLearner learning>"


def test_the_services_own_figure_is_learned_whenever_the_poll_was_sent_and_leaves_no_guesswork():
    learner = PollLearner()
    for _ in range(ENOUGH):
        learner.learn(2000.0, None, float("inf"), 20.0)
        learner.learn(2000.0, None, 0.0, 20.0)
    assert learner.gap(0, 0) == 20.0


def test_the_learner_notices_when_jobs_become_faster():
    """From 60 s to 10 s: the scale leads the first poll down until the new times fill the memory."""
    learner = learned(*[60.0] * MEMORY)
    first = []
    for _ in range(MEMORY):
        due = learner.gap(0, 0)
        first.append(due)
        age, polls, previous = due, 1, None
        while age < 10.0:
            previous, age, polls = age, age + learner.gap(age, polls), polls + 1
        learner.learn(age, previous, 0.0, None)
    assert first[0] == 60.0
    assert first[10] < 15
    assert max(first[-20:]) < 12


def test_only_the_last_hundred_jobs_count():
    assert learned(*[1000.0] * 50, *[20.0] * MEMORY).gap(0, 0) == 20.0


def test_its_repr_tells_what_it_learned():
    assert repr(learned(*HUNDRED)) == "<PollLearner q10 21.0s q90 101.0s>"
