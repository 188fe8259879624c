"""How many jobs to keep in flight. Pure: it decides on what it is told and never waits.

An account of R requests a minute with jobs of L seconds is filled by C = ceil(2.5 x R x L / 60) jobs; half of that costs
4 … 28 % of the time (simulated). Where no limit is known there is a slow start: one more in flight for each job that
ends while every place is taken, so the number doubles once a job's time, until a 429 tells the limit, or until jobs
begin to take longer: then they only wait in another queue.

Whatever is asked for, jobs in flight stay under GUARD x R: with every request counted, a job more would find its
record's hour over before its turn to be fetched comes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.remote.gate import Gate
    from batch.remote.polls import Polls

START = 100
"""While no limit is known: twice what the published account of 50 a minute can use. A 429 too many costs nothing."""

MOST = 1000
"""In flight by itself: one core carries some hundred jobs a second, and no account is known that takes more."""

FILL = 2.5
CALLS_A_JOB = 3  # submit, status and result, where each counts
GUARD = 15
QUIET_S = 130.0  # without a 429 for two windows, though every place was taken: the limit is not what it was
SLOWER = 1.5  # times the quickest median: more in flight would only wait longer
TYPICAL_S = 23.4  # of a job, by the vendor's page


class Concurrency:
    """The number of jobs in flight, at most `ceiling`; with `auto` what the account can use of it.

    `start` is where an earlier run of the folder ended without having met a limit, 0 when there was none.
    """

    def __init__(self, ceiling: int, gate: Gate, polls: Polls, *, auto: bool = False, start: int = 0) -> None:
        self.ceiling = ceiling
        self.auto = auto
        self._gate = gate
        self._polls = polls
        self._grown = 0.0 if gate.limit is not None else float(max(start, START))
        self._quickest = math.inf
        self._begun: float | None = None

    def __repr__(self) -> str:
        return f"<Concurrency {self.allowed()}{' by itself' if self.auto else ''}>"

    def allowed(self) -> int:
        """How many jobs may be in flight now, at least 1."""
        number, limit = float(self.ceiling), self._gate.limit
        if self.auto:
            number = min(number, max(self._grown, 0 if limit is None else self._filling(limit)))
        if limit is not None:
            number = min(number, GUARD * limit)
        return max(int(number), 1)

    @property
    def grown(self) -> int:
        """How many may be in flight without a limit that was met, 0 where one was: a start for the next run."""
        return int(self._grown)

    def throttled(self) -> None:
        """Take note of a 429: the limit it told says more than what was grown without one."""
        if self._gate.limit is not None:
            self._grown = 0.0

    def ended(self, now: float, *, full: bool) -> None:
        """Take note of a job that ended; `full`: every place was taken until then."""
        if self._begun is None:
            self._begun = now
        median = self._polls.median()
        if not (self.auto and full) or median is None:
            return
        self._quickest = min(self._quickest, median)
        quiet_since = (
            self._gate.closed_at if self._gate.limit is None else max(self._gate.closed_at, self._begun)
        )
        if median <= SLOWER * self._quickest and now - quiet_since > QUIET_S:
            self._grown = float(min(self.allowed() + 1, MOST))

    def _filling(self, limit: float) -> float:
        jobs = limit / CALLS_A_JOB if self._gate.counts_gets else limit
        return math.ceil(FILL * jobs * (self._polls.median() or TYPICAL_S) / 60)
