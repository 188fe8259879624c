"""The rounds of a run: who stands in line and is not carried after all gives the place back."""

from types import SimpleNamespace

import pytest

from batch.halt import Halt
from batch.remote.pace import Pace
from batch.work import _carry_round

pytestmark = pytest.mark.anyio


class Desk:
    """Answers every call with the next page."""

    def __init__(self, *pages):
        self._pages = iter([*pages, []])

    async def do(self, _work):
        return next(self._pages)


async def test_a_round_that_is_halted_leaves_nobody_in_line():
    """A second round may have the same job again, which can stand in line but once."""
    pace, halt = Pace(2), Halt()
    halt.because("no credits")
    for _ in range(2):
        book = SimpleNamespace(desk=Desk([SimpleNamespace(job=7, request_id=None)]))
        journey = SimpleNamespace(book=book, client=SimpleNamespace(pace=pace), halt=halt)
        await _carry_round(journey, SimpleNamespace(page=None))
    assert pace._line.borrowed_tokens == 0
