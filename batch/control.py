"""What steers a run's speed, made from what its folder has learned, and written down again for the next run.

The gate, the learners and the number in flight decide; this only brings them together with the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.forecast import expected
from batch.ledger.store import Ledger
from batch.remote.client import poll_limits
from batch.remote.concurrency import MOST, Concurrency
from batch.remote.gate import Gate
from batch.remote.learned import Learned
from batch.remote.pace import Pace
from batch.remote.polls import Polls

if TYPE_CHECKING:
    from pathlib import Path

    from batch.config import RunSettings, Service
    from batch.forecast import Forecast

LEARNED = "learned"
MOST_NEARBY = 16
"""In flight at the local server by itself: more would only stand in its queue."""


class Control:
    """The pace and the polls of one run."""

    def __init__(self, settings: RunSettings, service: Service, ledger: Ledger) -> None:
        self._settings = settings
        self._before = read_learned(ledger)
        gate = Gate(settings.rate, self._before.seen(ledger.clock()))
        self.polls = Polls(poll_limits(service), self._before.times)
        self.pace = Pace(
            Concurrency(
                settings.concurrency or (MOST_NEARBY if service.local else MOST),
                gate,
                self.polls,
                auto=settings.concurrency is None,
                start=self._before.in_flight,
            ),
            gate,
        )

    def __repr__(self) -> str:
        return f"<Control {self.pace!r} {self.pace.gate!r}>"

    def expected(self, jobs: int, now: float) -> Forecast | None:
        """Say how long so many jobs take, from what earlier runs have learned."""
        return expected(jobs, self._settings, self._before, now)

    def remember(self, ledger: Ledger) -> None:
        """Write down what was learned so far; runs inside `atomic`."""
        gate, before, now = self.pace.gate, self._before, ledger.clock()
        met = gate.throttles > 0 and gate.limit is not None
        learned = Learned(
            times=self.polls.times,
            limit=gate.limit if met else before.limit,
            limit_at=now if met else before.limit_at,
            gets_at=now if gate.get_throttles else before.gets_at,
            in_flight=self.pace.concurrency.grown,
        )
        ledger.set_meta(LEARNED, learned.to_json())


def learned_in(path: Path) -> Learned:
    """Return what the ledger at a path has learned; nothing where there is none."""
    if not path.is_file():
        return Learned()
    with Ledger.read(path) as ledger:
        return read_learned(ledger)


def read_learned(ledger: Ledger) -> Learned:
    """Return what the runs of a folder have learned about its service."""
    return Learned.from_json(ledger.meta(LEARNED))
