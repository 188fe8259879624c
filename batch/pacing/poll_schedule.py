"""When to ask for a job's status again: learned from the last job times, pure, on times handed in.

Nothing learned yet (fewer than ENOUGH finished jobs): next gap = clamp(0.2 x age, first, ceiling). After that, over
the last MEMORY job times: first poll at s x q10, then gaps of (q90 - q10)/SPREAD, beyond q90 at least 10 % of the age;
never under the floor, over 25 % of the age, or over the ceiling. The floor is a share of the usual time, within bounds:
a second is short for a job of a minute, and long for one of five seconds.

All polls are due on ticks, a sixteenth of the usual time apart or somewhat less: each on the nearest one. That moves a
poll by half a tick, as often earlier as later, and a process that wakes for many polls at once takes a fifth less CPU
for a job than one that wakes for every poll (tests/benchmarks/test_waves.py).

Where the service reports its own time for a job, that is learned and s stays 1, provided our own observation agrees: a
job cannot have taken longer than its age, nor have ended long before it was seen running. Where it does not, completions
are seen at our own polls only, and faster jobs would never be noticed: so the scale s shrinks x0.8 when the first poll
finds the job done already, else grows x1.1 up to 1.

Where polls count against the account's limit (`rate_limited`), the first one waits for q95 and the gaps are at least a
quarter of the age. The constants were found by simulating eight shapes of job times, which is not part of the repository;
tests/unit/pacing/test_poll_schedule.py checks the rules, and test_steering.py measures runs that poll by them.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict, deque
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from batch.core.config import CAREFUL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch.core.config import PollLimits

MEMORY = 100
ENOUGH = 8
LATE_S = 3.0  # a poll sent later than this after its due time says nothing about the server
TICK_SHARE = 1 / 16  # of the usual time
SPREAD = 6.5  # gaps from q10 to q90; simulated with 6, but the ticks save as many calls
FIRST_POLL_S = 120.0
"""The first poll waits no longer, whatever was learned: a wrong figure is found out then."""
SLACK_S = 1.0  # how far the service's figure and our own observation may differ
RATE_LIMITED_SHARE = 0.2  # of the usual time, as least gap of a poll that counts


class PollSchedule:
    """When to poll jobs of one image size; `times` are the last job times in seconds, the latest last."""

    def __init__(self, limits: PollLimits = CAREFUL, times: Sequence[float] = ()) -> None:
        self.limits = limits
        self.times = deque(times, maxlen=MEMORY)
        self._ordered = sorted(self.times)
        self._scale = 1.0

    def __repr__(self) -> str:
        if len(self._ordered) < ENOUGH:
            return "<PollSchedule learning>"
        return f"<PollSchedule q10 {self._quantile(0.1):.1f}s q90 {self._quantile(0.9):.1f}s>"

    def _quantile(self, q: float) -> float:
        return self._ordered[min(len(self._ordered) - 1, int(q * len(self._ordered)))]

    def next_poll_at(self, now: float, age_s: float, polls: int, *, rate_limited: bool = False) -> float:
        """Return when to poll next, on the clock of `now`: after the gap, on the nearest tick to come."""
        usual = self._quantile(0.5) if len(self._ordered) >= ENOUGH else 0.0
        share = min(max(TICK_SHARE * usual, self.limits.lowest), self.limits.highest)
        tick_s = 2.0 ** math.floor(math.log2(share))  # a power of two, so that it seldom changes
        ticks = round((now + self.gap(age_s, polls, rate_limited=rate_limited)) / tick_s)
        return max(ticks, now // tick_s + 1) * tick_s

    def gap(self, age_s: float, polls: int, *, rate_limited: bool = False) -> float:
        """Return the seconds to the next poll of a job `age_s` old that was polled `polls` times; at least the floor.

        `rate_limited`: polls count against the account's limit.
        """
        bounds = self.limits
        if len(self._ordered) < ENOUGH:
            return bounds.ceiling if rate_limited else min(max(0.2 * age_s, bounds.first), bounds.ceiling)
        usual = self._quantile(0.5)
        low = min(max(bounds.share * usual, bounds.lowest), bounds.highest)
        if rate_limited:
            low = max(low, RATE_LIMITED_SHARE * usual)
        first_poll = self._quantile(0.95) if rate_limited else self._scale * self._quantile(0.1)
        first_poll = min(first_poll, FIRST_POLL_S)
        if polls == 0 and age_s < first_poll:
            return max(first_poll - age_s, low)
        if rate_limited:
            return max(0.25 * age_s, low)
        q90 = self._quantile(0.9)
        gap = (q90 - self._quantile(0.1)) / SPREAD
        if age_s > q90:
            gap = max(gap, 0.1 * age_s)
        return max(min(gap, 0.25 * age_s, bounds.ceiling), low)

    def learn(self, age_s: float, previous_age_s: float | None, late_s: float, total_s: float | None) -> None:
        """Learn from a finished job.

        `age_s` is its age at the poll that found it done, `previous_age_s` at the poll before (None: there was
        none), `late_s` how long after its due time that poll was sent, `total_s` the service's own figure, if any.
        A figure longer than the job's age also discards what was learned from figures like it.
        """
        if total_s is not None and total_s > age_s + SLACK_S:
            self.times = deque((time for time in self.times if time <= age_s), maxlen=MEMORY)
            self._ordered = sorted(self.times)
        least = 0.0 if previous_age_s is None else previous_age_s / 2 - SLACK_S
        if total_s is not None and 0 < total_s <= age_s + SLACK_S and total_s >= least:
            seconds = total_s
        elif late_s > LATE_S:
            return
        elif previous_age_s is None:
            self._scale *= 0.8
            seconds = 0.85 * age_s
        else:
            self._scale = min(1.0, self._scale * 1.1)
            seconds = (age_s + previous_age_s) / 2
        if len(self.times) == MEMORY:
            self._ordered.remove(self.times[0])
        self.times.append(seconds)
        insort(self._ordered, seconds)


class PollSchedules:
    """The poll schedules of one service, one for each image size, since each size takes its own time.

    `times` are job times by size from earlier runs. A size is any text that separates quick jobs from slow ones; one that
    is new to `by_size` has learned nothing yet.
    """

    def __init__(
        self, times: Mapping[str, Sequence[float]] | None = None, limits: PollLimits = CAREFUL
    ) -> None:
        self.by_size: defaultdict[str, PollSchedule] = defaultdict(partial(PollSchedule, limits))
        self.by_size |= {size: PollSchedule(limits, known) for size, known in (times or {}).items()}

    def __repr__(self) -> str:
        return f"<PollSchedules {dict(self.by_size)}>"

    def median(self) -> float | None:
        """Return the usual time of the last jobs of every size in seconds; None while there are fewer than ENOUGH."""
        times = [seconds for schedule in self.by_size.values() for seconds in schedule.times]
        return median(times) if len(times) >= ENOUGH else None

    @property
    def times(self) -> dict[str, tuple[float, ...]]:
        """The job times that were learned, by size; an empty size has none."""
        return {size: tuple(schedule.times) for size, schedule in self.by_size.items() if schedule.times}
