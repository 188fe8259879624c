"""The disagreement of two clocks, judged from many answers and never from one."""

import pytest

from batch.client.calls import MOST_DATES, ClockSkew

T = 1_800_000_000.0


def clocks(*skews):
    seen = ClockSkew()
    for skew in skews:
        seen.note(str(T - skew), T)
    return seen


def test_without_a_dated_answer_nothing_is_known():
    assert (clocks().skew, clocks().spread) == (None, 0.0)


@pytest.mark.parametrize("odd", [20.0, -20.0, 86_400.0, -3_000.0])
@pytest.mark.parametrize("place", [0, 5, 9])
def test_one_odd_answer_of_many_neither_shifts_nor_narrows_the_range(odd, place):
    skews = [1.0, 2.0, 1.5, 1.2, 1.8, 1.1, 1.9, 1.3, 1.7, 1.6]
    plain = clocks(*skews)
    skews[place] = odd
    seen = clocks(*skews)
    assert seen.skew == pytest.approx(plain.skew, abs=0.5)
    assert seen.spread <= 1.0


@pytest.mark.parametrize("skews", [(0.0, 20.0), (20.0, 0.0), (0.0, 0.0, -600.0), (0.0, 0.0, 0.0, 86_400.0)])
def test_of_few_answers_each_lies_in_the_range(skews):
    seen = clocks(*skews)
    assert all(seen.skew - seen.spread <= skew <= seen.skew + seen.spread for skew in skews)


def test_clocks_of_several_nodes_are_a_range_as_wide_as_they_differ():
    seen = clocks(*[0.0, 60.0, -60.0] * 10)
    assert (seen.skew, seen.spread) == (0.0, 60.0)


def test_only_the_last_answers_count():
    assert clocks(*[500.0] * MOST_DATES, *[1.0] * MOST_DATES).skew == 1.0
