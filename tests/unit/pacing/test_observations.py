"""What one run tells the next."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.config import RunSettings
from batch.pacing.limiter import AccountLimits
from batch.pacing.observations import BELIEVED_S, Observations

NOW = 1_800_000_000.0
MUCH = Observations({"1:1": (20.0, 21.5), "21:9": (60.0,)}, 50.0, NOW, NOW - 10, 120)


def test_it_comes_back_as_it_was():
    assert Observations.from_json(MUCH.to_json()) == MUCH
    assert Observations.from_json(Observations().to_json()) == Observations()


def test_it_is_believed_for_a_day():
    assert MUCH.account_limits(NOW + BELIEVED_S - 20) == AccountLimits(50.0, counts_gets=True)
    assert MUCH.account_limits(NOW + BELIEVED_S - 5) == AccountLimits(50.0, counts_gets=False)
    assert MUCH.account_limits(NOW + BELIEVED_S + 5) == AccountLimits()
    assert MUCH.account_limits(NOW - 2 * BELIEVED_S) == AccountLimits()  # a clock that was set back


def test_a_time_that_no_limit_changes_is_told_once():
    one, many = (Observations().takes(jobs, RunSettings("out"), NOW) for jobs in (1, 100))
    assert one.startswith("Takes ")
    assert "(" not in one
    assert "(Free, 5 requests a minute), " in many


@pytest.mark.parametrize(
    "text",
    [None, "", "nonsense", "[]", "7", '{"watched_times": 3, "limit": "many"}', '{"watched_times": {"1:1": "x"}, "limit": NaN}',
     '{"limit": true, "limit_at": -1, "in_flight": null}'],
)  # fmt: skip
def test_what_cannot_be_read_teaches_nothing(text):
    found = Observations.from_json(text)
    assert (found.limit, found.limit_at, found.gets_at, found.in_flight) == (None, None, None, 0)
    assert not any(found.times.values())


def test_times_that_no_job_can_have_taken_and_those_of_earlier_versions_are_not_believed():
    poisoned = Observations({"1:1": (23_400.0, 20.0, 0.0, 3600.5, 3600.0)})
    assert Observations.from_json(poisoned.to_json()).times == {"1:1": (20.0, 3600.0)}
    assert not Observations.from_json(json.dumps({"times": {"1:1": [2340.0] * 9}, "limit": 50})).times
    for text in ("NaN", "-1", '"20"', "true", "1e400", "null"):
        assert Observations.from_json(f'{{"watched_times": {{"1:1": [{text}, 20]}}}}').times == {
            "1:1": (20.0,)
        }


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    )
)
def test_nothing_that_is_found_there_raises(value):
    Observations.from_json(
        json.dumps({"watched_times": value, "limit": value, "in_flight": value})
    ).account_limits(NOW)
