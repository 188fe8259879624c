"""When to ask a job for its status again: a learner over the last job times, pure, on times handed in.

Nothing learned yet (fewer than ENOUGH finished jobs): next gap = clamp(0.2 x age, first, ceiling). After that, over
the last MEMORY job times: first poll at s x q10, then gaps of (q90 - q10)/6, beyond q90 at least 10 % of the age;
never under the floor, over 25 % of the age, or over the ceiling. The scale s shrinks x0.8 when the first poll finds
the job done already, else grows x1.1 up to 1: without it a learner never notices that jobs became faster.
The constants come from a simulation over eight shapes of job times (policy Q); re-measure before changing them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MEMORY = 100
ENOUGH = 8
LATE_S = 3.0  # a poll sent later than this after its due time says nothing about the server


@dataclass(frozen=True, slots=True)
class PollLimits:
    """Bounds of the gaps between polls, in seconds: never under `floor`; `first` while nothing is learned."""

    floor: float = 1.0
    first: float = 3.0
    ceiling: float = 10.0


CAREFUL = PollLimits()
NEARBY = PollLimits(floor=0.1, first=0.2, ceiling=2.0)
"""For a service on this machine, where a status call costs nobody anything."""


class PollLearner:
    """One learner per service and model; knows nothing of clocks or tasks."""

    def __init__(self, limits: PollLimits = CAREFUL) -> None:
        self.limits = limits
        self._times: deque[float] = deque(maxlen=MEMORY)
        self._scale = 1.0

    def __repr__(self) -> str:
        learned = (
            f"q10 {self._quantile(0.1):.1f}s q90 {self._quantile(0.9):.1f}s" if self._ready else "learning"
        )
        return f"<PollLearner {learned}>"

    @property
    def _ready(self) -> bool:
        return len(self._times) >= ENOUGH

    def _quantile(self, q: float) -> float:
        ordered = sorted(self._times)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]

    def gap(self, age_s: float, polls: int) -> float:
        """Seconds from now to the next poll of a job `age_s` old that was polled `polls` times; at least the floor."""
        low, high = self.limits.floor, self.limits.ceiling
        if not self._ready:
            return min(max(0.2 * age_s, self.limits.first), high)
        q10, q90 = self._quantile(0.1), self._quantile(0.9)
        first_poll = self._scale * q10
        if polls == 0 and age_s < first_poll:
            return max(first_poll - age_s, low)
        gap = (q90 - q10) / 6
        if age_s > q90:
            gap = max(gap, 0.1 * age_s)
        return max(min(gap, 0.25 * age_s, high), low)

    def learn(self, age_s: float, previous_age_s: float | None, late_s: float, total_s: float | None) -> None:
        """Take in a finished job.

        `age_s` is its age at the poll that found it done, `previous_age_s` at the poll before (None: there was
        none), `late_s` how far behind its due time that poll was sent, `total_s` the service's own figure, if any.
        """
        if late_s <= LATE_S:
            self._scale = self._scale * 0.8 if previous_age_s is None else min(1.0, self._scale * 1.1)
        elif total_s is None:
            return
        if total_s is not None:
            self._times.append(total_s)
        elif previous_age_s is None:
            self._times.append(0.85 * age_s)
        else:
            self._times.append((age_s + previous_age_s) / 2)
