"""Dispatching: a job that gets a place in line and is not processed after all gives the place back."""

from types import SimpleNamespace

import pytest

from batch.execution.dispatcher import JobQueue, _dispatch_pass
from batch.execution.pipeline import PaidFirst
from batch.execution.shutdown import StopController
from batch.ledger.memory import MemoryLedger
from batch.pacing.limiter import Limiter
from tests.unit.ledger.stores import payload

pytestmark = pytest.mark.anyio


async def test_a_pass_that_is_stopped_leaves_no_job_in_line():
    """A second pass may have the same job again, which can be in line only once."""
    pace, stop, store = Limiter(2), StopController(), MemoryLedger(lambda: 0.0)
    stop.request_stop("no credits")
    with store.atomic():
        store.adopt([payload("a")])
    pipeline = SimpleNamespace(
        recorder=SimpleNamespace(ledger=store),
        client=SimpleNamespace(pace=pace),
        stop=stop,
        first=PaidFirst(),
    )
    for _ in range(2):
        await _dispatch_pass(pipeline, JobQueue())
    assert pace.admitted.borrowed_tokens == 0
