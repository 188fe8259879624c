"""What one run tells the next."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.remote.gate import Seen
from batch.remote.learned import BELIEVED_S, Learned

NOW = 1_800_000_000.0
MUCH = Learned({"1:1": (20.0, 21.5), "21:9": (60.0,)}, 50.0, NOW, NOW - 10, 120)


def test_it_comes_back_as_it_was():
    assert Learned.from_json(MUCH.to_json()) == MUCH
    assert Learned.from_json(Learned().to_json()) == Learned()


def test_it_is_believed_for_a_day():
    assert MUCH.seen(NOW + BELIEVED_S - 20) == Seen(50.0, counts_gets=True)
    assert MUCH.seen(NOW + BELIEVED_S - 5) == Seen(50.0, counts_gets=False)
    assert MUCH.seen(NOW + BELIEVED_S + 5) == Seen()
    assert MUCH.seen(NOW - 2 * BELIEVED_S) == Seen()  # a clock that was set back


@pytest.mark.parametrize(
    "text",
    [None, "", "nonsense", "[]", "7", '{"times": 3, "limit": "many"}', '{"times": {"1:1": "x"}, "limit": NaN}',
     '{"limit": true, "limit_at": -1, "in_flight": null}'],
)  # fmt: skip
def test_what_cannot_be_read_teaches_nothing(text):
    found = Learned.from_json(text)
    assert (found.limit, found.limit_at, found.gets_at, found.in_flight) == (None, None, None, 0)
    assert not any(found.times.values())


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_nothing_that_is_found_there_raises(value):
    Learned.from_json(json.dumps({"times": value, "limit": value, "in_flight": value})).seen(NOW)
