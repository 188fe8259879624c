"""How long a run will take, before it has begun: by formulas, as a range because a window's phase cannot be known.

With L the median job time and s the spread of its logarithm: mean Lm = L exp(s^2/2), lag of the polls 0.07 Lm + 0.5 s,
slowest of m jobs L exp(s z(1 - 1/(2m))) + lag. Bound by jobs in flight C: (N - C)(Lm + lag)/C + slowest(C). Bound by R
requests a minute, W = ceil(N / R) windows: (W - 1) 60 - 30 + slowest(min(C, jobs of the last window)). The larger holds.
Against simulated runs the mean error is 1.4 % at s = 0.3 and 4.5 % at 0.6; a single short batch misses by up to 25 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist, median, stdev
from typing import TYPE_CHECKING

from batch.core.units import format_span
from batch.pacing.limiter import CALLS_A_JOB, FILL, GUARD, MOST, TYPICAL_S, WINDOW_S
from batch.pacing.poll_schedule import ENOUGH

if TYPE_CHECKING:
    from collections.abc import Sequence

PUBLISHED = {"Free, 5 requests a minute": 5, "Pro, 50": 50}
"""The vendor's published limits a minute, by the names of the plans."""

TYPICAL_SPREAD = 0.3
MARGIN_SHARE = 0.10
MARGIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """The time a run takes: between `low_s` and `high_s` seconds."""

    low_s: float
    high_s: float

    def __str__(self) -> str:
        """Return the range as a person reads it, like 1 min 50 s … 4 min 0 s."""
        low, high = format_span(self.low_s), format_span(self.high_s)
        return f"{low} … {high}" if self.low_s else f"up to {high}"


def forecast(
    jobs: int,
    limit: float | None,
    times: Sequence[float] = (),
    *,
    counts_gets: bool = False,
    concurrency: int | None = None,
) -> Forecast | None:
    """Return how long `jobs` jobs take; None where neither a limit nor a number in flight is known.

    `limit` is requests a minute, of all requests or of submits only; `concurrency` bounds the jobs in flight. `times` are
    earlier job times in seconds; with fewer than ENOUGH the vendor's figure counts.
    """
    if not jobs:
        return Forecast(0.0, 0.0)
    usual, spread = _shape(times)
    rate = None
    if limit is not None:
        rate = max(limit / CALLS_A_JOB if counts_gets else limit, 1e-3)
    if rate is None and concurrency is None:
        return None
    in_flight = concurrency or MOST
    if rate is not None and limit is not None:
        filling = math.ceil(FILL * rate * usual / WINDOW_S) if concurrency is None else in_flight
        in_flight = max(min(in_flight, filling, int(GUARD * limit)), 1)
    in_flight = min(in_flight, jobs)
    mean = usual * math.exp(spread**2 / 2)
    lag = 0.07 * mean + 0.5

    def slowest(of: int) -> float:
        return usual * math.exp(spread * NormalDist().inv_cdf(1 - 1 / (2 * max(of, 1)))) + lag

    seconds = (jobs - in_flight) * (mean + lag) / in_flight + slowest(in_flight)
    if rate is not None:
        windows = math.ceil(jobs / rate)
        last = max(math.ceil(jobs - (windows - 1) * rate), 1)
        seconds = max(seconds, (windows - 1) * WINDOW_S - WINDOW_S / 2 + slowest(min(in_flight, last)))
    return Forecast(
        max(seconds * (1 - MARGIN_SHARE) - MARGIN_S, 0.0), seconds * (1 + MARGIN_SHARE) + MARGIN_S
    )


def _shape(times: Sequence[float]) -> tuple[float, float]:
    """Return the median of job times in seconds, and the spread of their logarithm."""
    known = [seconds for seconds in times if seconds > 0]
    if len(known) < ENOUGH:
        return TYPICAL_S, TYPICAL_SPREAD
    return median(known), stdev(map(math.log, known))
