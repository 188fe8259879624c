"""How long to wait after a failure, and the loop around calls that cost nothing, in virtual time."""

from functools import partial

import anyio
import pytest

from batch.core.config import Backoff
from batch.pacing.backoff import retry
from tests.virtual_time import VirtualTimeLoop

CERTAIN = Backoff(0.5, 5.0, least=1.0)
"""Leaves nothing to chance: 0.5, 1, 2 and 4 s, then 5."""


@pytest.mark.parametrize(("failures", "most"), [(1, 1.0), (2, 2.0), (5, 16.0), (6, 20.0), (2000, 20.0)])
@pytest.mark.parametrize("least", [0.0, 0.5, 1.0])
def test_waits_double_to_a_bound_and_are_drawn_above_the_least_share(failures, most, least):
    waits = Backoff(1.0, 20.0, least)
    assert waits.wait_s(failures, lambda: 0.0) == most * least
    assert waits.wait_s(failures, lambda: 1.0) == most


class Failing:
    """A call that fails so many times, each taking a second; `calls` are when it was made."""

    def __init__(self, times, error=OSError):
        self.calls, self.times, self.error = [], times, error

    async def __call__(self):
        self.calls.append(anyio.current_time())
        await anyio.sleep(1)
        if len(self.calls) <= self.times:
            raise self.error(len(self.calls))
        return "answer"


def retried(attempt, attempts, **more):
    """Return what `retry` does in virtual time."""
    return anyio.run(
        partial(retry, attempt, OSError, CERTAIN, attempts=attempts, **more),
        backend_options={"loop_factory": VirtualTimeLoop},
    )


def test_a_call_is_repeated_until_it_answers():
    failing = Failing(2)
    assert retried(failing, 4) == "answer"
    assert failing.calls == [0.0, 1.5, 3.5]


def test_the_last_failure_is_raised():
    failing = Failing(9)
    with pytest.raises(OSError, match="3"):
        retried(failing, 3)
    assert len(failing.calls) == 3


def test_no_attempt_is_begun_once_the_time_is_over():
    """Attempts end at 1.0, 2.5, 4.5 and 7.5 s; then 7 s are over."""
    with pytest.raises(OSError, match="4"):
        retried(Failing(9), 9, within_s=7.0)


def test_any_other_failure_is_raised_at_once():
    failing = Failing(9, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        retried(failing, 9)
    assert len(failing.calls) == 1
