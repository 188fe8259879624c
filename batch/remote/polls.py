"""When to ask a job for its status again: a learner over the last job times, pure, on times handed in.

Nothing learned yet (fewer than ENOUGH finished jobs): next gap = clamp(0.2 x age, first, ceiling). After that, over
the last MEMORY job times: first poll at s x q10, then gaps of (q90 - q10)/SPREAD, beyond q90 at least 10 % of the age;
never under the floor, over 25 % of the age, or over the ceiling. The floor is a share of the usual time, within bounds:
a second is little for a job of a minute, and much for one of five.

All polls are due on a beat, a sixteenth of the usual time or somewhat less: each on the tick that is nearest. That moves
a poll by half a beat, as often earlier as later, and a process that wakes for many polls at once takes a fifth less CPU
for a job than one that wakes for every poll (tests/benchmarks/test_waves.py).

Where the service tells its own time for a job, that is learned and s stays 1. Where it does not, a learner sees
completions at its own polls only, and would never notice that jobs became faster: so the scale s shrinks x0.8 when the
first poll finds the job done already, else grows x1.1 up to 1.

Where polls count against the account's limit (`sparing`), the first one waits for q95 and the gaps are at least a
quarter of the age. The constants come from a simulation over eight shapes of job times (policy Q); re-measure before
changing them.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEMORY = 100
ENOUGH = 8
LATE_S = 3.0  # a poll sent later than this after its due time says nothing about the server
BEAT_SHARE = 1 / 16  # of the usual time
SPREAD = 6.5  # gaps from q10 to q90; simulated with 6, but the beat saves as many calls
SPARING_SHARE = 0.2  # of the usual time, as least gap of a poll that counts


@dataclass(frozen=True, slots=True)
class PollLimits:
    """Bounds of the gaps between polls, in seconds.

    The floor is `share` of the usual time, within `lowest` … `highest`; `first` while nothing is learned.
    """

    lowest: float = 0.2
    highest: float = 1.0
    share: float = 0.04
    first: float = 1.5
    ceiling: float = 10.0


CAREFUL = PollLimits()
NEARBY = PollLimits(lowest=0.1, highest=0.1, first=0.2, ceiling=2.0)
"""For a service on this machine, where a status call costs nobody anything."""


class PollLearner:
    """One learner per size of picture; knows nothing of clocks or tasks."""

    def __init__(self, limits: PollLimits = CAREFUL, times: Sequence[float] = ()) -> None:
        self.limits = limits
        self._times: deque[float] = deque(times, maxlen=MEMORY)
        self._ordered = sorted(self._times)
        self._scale = 1.0

    def __repr__(self) -> str:
        learned = (
            f"q10 {self._quantile(0.1):.1f}s q90 {self._quantile(0.9):.1f}s" if self._ready else "learning"
        )
        return f"<PollLearner {learned}>"

    @property
    def times(self) -> tuple[float, ...]:
        """The last job times in seconds, the latest last."""
        return tuple(self._times)

    @property
    def _ready(self) -> bool:
        return len(self._ordered) >= ENOUGH

    def _quantile(self, q: float) -> float:
        return self._ordered[min(len(self._ordered) - 1, int(q * len(self._ordered)))]

    @property
    def beat(self) -> float:
        """Seconds between the moments at which polls are due: a power of two, so that it seldom changes."""
        usual = self._quantile(0.5) if self._ready else 0.0
        share = min(max(BEAT_SHARE * usual, self.limits.lowest), self.limits.highest)
        return 2.0 ** math.floor(math.log2(share))

    def due(self, now: float, age_s: float, polls: int, *, sparing: bool = False) -> float:
        """Return when to poll next, on the clock of `now`: after the gap, on the nearest tick of the beat to come."""
        beat = self.beat
        ticks = round((now + self.gap(age_s, polls, sparing=sparing)) / beat)
        return max(ticks, now // beat + 1) * beat

    def gap(self, age_s: float, polls: int, *, sparing: bool = False) -> float:
        """Seconds from now to the next poll of a job `age_s` old that was polled `polls` times; at least the floor.

        `sparing`: polls count against the account's limit.
        """
        bounds = self.limits
        if not self._ready:
            if sparing:
                return bounds.ceiling
            return min(max(0.2 * age_s, bounds.first), bounds.ceiling)
        usual = self._quantile(0.5)
        low = min(max(bounds.share * usual, bounds.lowest), bounds.highest)
        if sparing:
            low = max(low, SPARING_SHARE * usual)
        first_poll = self._quantile(0.95) if sparing else self._scale * self._quantile(0.1)
        if polls == 0 and age_s < first_poll:
            return max(first_poll - age_s, low)
        if sparing:
            return max(0.25 * age_s, low)
        q90 = self._quantile(0.9)
        gap = (q90 - self._quantile(0.1)) / SPREAD
        if age_s > q90:
            gap = max(gap, 0.1 * age_s)
        return max(min(gap, 0.25 * age_s, bounds.ceiling), low)

    def learn(self, age_s: float, previous_age_s: float | None, late_s: float, total_s: float | None) -> None:
        """Take in a finished job.

        `age_s` is its age at the poll that found it done, `previous_age_s` at the poll before (None: there was
        none), `late_s` how far behind its due time that poll was sent, `total_s` the service's own figure, if any.
        """
        if total_s is not None:
            self._remember(total_s)
        elif late_s <= LATE_S:
            first = previous_age_s is None
            self._scale = self._scale * 0.8 if first else min(1.0, self._scale * 1.1)
            self._remember(0.85 * age_s if previous_age_s is None else (age_s + previous_age_s) / 2)

    def _remember(self, seconds: float) -> None:
        if len(self._times) == MEMORY:
            self._ordered.remove(self._times[0])
        self._times.append(seconds)
        insort(self._ordered, seconds)


class Polls:
    """The learners of one service, one per size of picture, since a size has its own time."""

    def __init__(
        self, limits: PollLimits = CAREFUL, times: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        self._limits = limits
        self._learners = {size: PollLearner(limits, known) for size, known in (times or {}).items()}

    def __repr__(self) -> str:
        return f"<Polls {self._learners}>"

    def of(self, size: str) -> PollLearner:
        """Return the learner of a size, which is whatever tells quick jobs from slow ones."""
        if size not in self._learners:
            self._learners[size] = PollLearner(self._limits)
        return self._learners[size]

    def median(self) -> float | None:
        """Return the usual time of the last jobs of every size in seconds; None while there are fewer than ENOUGH."""
        times = [seconds for learner in self._learners.values() for seconds in learner.times]
        return median(times) if len(times) >= ENOUGH else None

    @property
    def times(self) -> dict[str, tuple[float, ...]]:
        """What was learned, by size; an empty size has none."""
        return {size: learner.times for size, learner in self._learners.items() if learner.times}
