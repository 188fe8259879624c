"""What a run learned about its service, as text that the ledger keeps for the next run.

Rule: it only makes a start better. What cannot be read, cannot be true, or is too old to be believed, is left out.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from batch.core.config import Rate
from batch.pacing.forecast import PUBLISHED, forecast
from batch.pacing.limiter import AccountLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.core.config import RunSettings
    from batch.pacing.forecast import Forecast

BELIEVED_S = 24 * 3600.0
"""The limit, and that GETs count, are forgotten after this: the next 429 shows them again."""

LONGEST_JOB_S = 3600.0
"""The record of a job is gone after this: no job whose end was seen took longer."""
TIMES = "watched_times"
"""The key of the job times. Earlier versions wrote `times`, which were not checked against our own observation."""
LIMITS = ("limit", "limit_at", "gets_at")


@dataclass(frozen=True, slots=True)
class Observations:
    """Job times in seconds by image size, the account's limit, and how many jobs were in flight without meeting one.

    `limit` is requests a minute, None when no 429 was met; `limit_at` and `gets_at` are when the last 429 showed that
    there is a limit, and that GETs count, in epoch seconds.
    """

    times: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    limit: float | None = None
    limit_at: float | None = None
    gets_at: float | None = None
    in_flight: int = 0

    def account_limits(self, now: float) -> AccountLimits:
        """Return what can still be believed of the account at `now`, in epoch seconds."""
        limit_is_fresh, gets_are_fresh = (
            at is not None and abs(now - at) < BELIEVED_S for at in (self.limit_at, self.gets_at)
        )
        return AccountLimits(self.limit if limit_is_fresh else None, counts_gets=gets_are_fresh)

    def forecast(self, jobs: int, settings: RunSettings, now: float) -> Forecast | None:
        """Return how long `jobs` jobs take; None where too little is known. `now` is in epoch seconds.

        The limit is the user's own rate or the one that was met, whichever is lower.
        """
        limits = [self.limit, settings.rate.per_minute if settings.rate else None]
        limit = min((known for known in limits if known is not None), default=None)
        if jobs and limit is None and settings.concurrency is None:
            return None
        return forecast(
            jobs,
            limit,
            [seconds for known in self.times.values() for seconds in known],
            counts_gets=self.account_limits(now).counts_gets,
            concurrency=settings.concurrency,
        )

    def takes(self, jobs: int, settings: RunSettings, now: float) -> str:
        """Return how long jobs take as a sentence: at the known limit, at the published ones where none is known."""
        known = self.forecast(jobs, settings, now)
        if known is not None:
            return f"Takes {known}."
        guesses = [
            (name, self.forecast(jobs, replace(settings, rate=Rate(number, 60.0)), now))
            for name, number in PUBLISHED.items()
        ]
        if len({str(guess) for _, guess in guesses}) == 1:  # whatever the limit is
            return f"Takes {guesses[0][1]}."
        ranges = ", ".join(f"{guess} ({name})" for name, guess in guesses if guess is not None)
        return f"Takes {ranges}; give your account's limit with --rate."

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        times = {size: [round(seconds, 3) for seconds in known] for size, known in self.times.items()}
        return json.dumps({TIMES: times} | {name: getattr(self, name) for name in (*LIMITS, "in_flight")})

    @classmethod
    def from_json(cls, text: str | None) -> Observations:
        """Read the text; what cannot be read was not learned."""
        if text is None:
            return cls()
        try:
            found = json.loads(text)
        except ValueError:
            return cls()
        if not isinstance(found, dict):
            return cls()
        times = found.get(TIMES)
        times = {size: _times(known) for size, known in times.items()} if isinstance(times, dict) else {}
        limit, limit_at, gets_at, in_flight = (_number(found.get(name)) for name in (*LIMITS, "in_flight"))
        return cls(times, limit, limit_at, gets_at, int(in_flight or 0))


def _times(known: Any) -> tuple[float, ...]:
    numbers = (_number(value) for value in known) if isinstance(known, list) else ()
    return tuple(value for value in numbers if value is not None and 0 < value <= LONGEST_JOB_S)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)
