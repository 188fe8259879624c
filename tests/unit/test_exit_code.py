"""Where several exit codes apply, the documented order says which one a schedule hears."""

import pytest

from batch.ending import exit_code
from batch.errors import CapReached, Interrupted, RunStopped, TimeIsUp
from batch.halt import Halt

CAP, TIME, STOP = CapReached("cap"), TimeIsUp("time"), RunStopped("credits")


@pytest.mark.parametrize(
    ("statuses", "reason", "code"),
    [
        ({"saved": 3}, None, 0),
        ({"saved": 3, "failed": 1}, None, 1),
        ({"saved": 3, "expired": 1}, None, 1),
        ({"saved": 3, "abandoned": 1}, None, 1),
        ({"failed": 1, "pending": 1}, None, 7),
        ({"failed": 1, "pending": 1, "unknown": 1}, None, 4),
        ({"failed": 1, "pending": 1, "unknown": 1}, TIME, 4),
        ({"failed": 1, "pending": 1}, TIME, 7),
        ({"failed": 1, "pending": 1, "unknown": 1}, CAP, 8),
        ({"failed": 1, "pending": 1, "unknown": 1}, STOP, 3),
    ],
)
def test_the_first_that_applies_is_told(statuses, reason, code):
    halt = Halt()
    if reason is not None:
        halt.because(reason)
    assert exit_code(statuses, halt) == code


@pytest.mark.parametrize("number", [2, 15], ids=["SIGINT", "SIGTERM"])
def test_a_signal_outranks_all(number):
    halt = Halt()
    halt.because(Interrupted("a signal came", number))
    assert exit_code({"unknown": 1, "pending": 1, "failed": 1}, halt) == 128 + number
