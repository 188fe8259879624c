"""Where several exit codes apply, the documented order says which one a schedule hears."""

import pytest

from batch.core.errors import BudgetExceeded, DurationExceeded, Interrupted, RunStopped
from batch.execution.runner import exit_code
from batch.execution.shutdown import StopController

CAP, TIME, STOP = BudgetExceeded("cap"), DurationExceeded("time"), RunStopped("credits")


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
    stop = StopController()
    if reason is not None:
        stop.request_stop(reason)
    assert exit_code(statuses, stop) == code


@pytest.mark.parametrize("number", [1, 2, 15], ids=["SIGHUP", "SIGINT", "SIGTERM"])
def test_a_signal_outranks_all(number):
    stop = StopController()
    stop.request_stop(Interrupted("a signal came", number))
    assert exit_code({"unknown": 1, "pending": 1, "failed": 1}, stop) == 128 + number
