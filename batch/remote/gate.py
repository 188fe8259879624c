"""Policy G: when the next request may go, and how many at once. Pure: it decides on times handed in and never waits.

A 429 is one shared episode, not N private sleeps: the first one closes the gate until the announced reset, later
ones of the same closure only extend it, and when it opens a few requests at a time feel their way (`width`). A 429 is
not billed, so one is spent per window instead of predicting the limit. Submits always pass the gate; GETs do once a 429
has been seen on a GET.

A 429 that does not say until when may mean a full window or too many jobs in flight. So the gate stands half open: one
probe every NO_HEADER_S seconds, or LANDED_S after a job has ended, until one is let through; the number of jobs in
flight at the first refusal is a ceiling from then on, which creeps up again with what is accepted. A closure until a time
that was announced, or because no connection could be made, is shortened by nothing.

The constants come from a simulation of windows, caps and clocks (policy G); re-measure before changing them.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.config import Rate
    from batch.remote.verdicts import Throttled

MARGIN_S = 0.3  # after the announced reset
NO_HEADER_S = 5.0  # a 429 that does not say until when
LANDED_S = 1.0  # after a job has ended: it may have made room
LONGEST_S = 65.0  # a reset read against our own clock is believed up to here
LONGEST_CLOSED_S = 900.0  # whatever is announced: one more 429 costs nothing, a closed gate may cost results
UNREACHABLE_LONGEST_S = 30.0
WINDOW_S = 60.0
WIDEST = 8
SHARE = 15  # one request at once for every so many let through in the last window
BEYOND = 1.2  # times what the last window let through: the limit has risen, and nobody needs to go one by one
CREEP = 0.1  # the ceiling rises by this with each job that is accepted
MOST_COUNTED = 2000
"""Requests let through of the last window that are counted: an account of more a minute needs no guard."""


class Turn(IntEnum):
    """What a request is for; the smaller goes first."""

    RESULT = 0
    STATUS = 1
    SUBMIT = 2


@dataclass(frozen=True, slots=True)
class Seen:
    """What a gate has found out about an account: requests a minute, None when no limit was met, and what it counts."""

    limit: float | None = None
    counts_gets: bool = False


class Gate:
    """When requests may go, and how many at once; times are seconds on one monotonic clock.

    `rate` is what a person knows better: never more than so many submits in so many seconds.
    """

    def __init__(self, rate: Rate | None = None, seen: Seen | None = None) -> None:
        seen = seen or Seen()
        self.limit = seen.limit
        if rate is not None:
            self.limit = rate.a_minute if seen.limit is None else min(rate.a_minute, seen.limit)
        self.counts_gets = seen.counts_gets
        self.opens_at = 0.0
        self._closed_until = 0.0  # nothing opens it earlier
        self.throttles = 0
        self.get_throttles = 0
        self.closed_at = -math.inf
        self.ceiling = math.inf
        self._probing = False
        self._missed = 0
        self._opened_at: float | None = None
        self._before = 0
        self._since = 0
        self._let_through: deque[float] = deque(maxlen=MOST_COUNTED)
        self._rate = rate
        self._sent: deque[float] = deque(maxlen=rate.number if rate else 1)

    def __repr__(self) -> str:
        limit = "no limit met" if self.limit is None else f"{self.limit:.0f} a minute"
        return f"<Gate {limit}{' of all requests' if self.counts_gets else ''}, {self.throttles} throttled>"

    def may_go(self, turn: Turn, now: float, busy: int, flying: int) -> float:
        """Return the moment from which a request may go; infinity: not before another one is answered or a job ends.

        `busy` requests are on their way through the gate, `flying` jobs are accepted and not yet ended.
        """
        if busy >= self.width(now) or (busy and self._nearly_used_up(busy)):
            return math.inf
        if turn is not Turn.SUBMIT:
            return self.opens_at
        if flying >= self.ceiling and not self._probing:
            return math.inf
        if self._rate is not None and len(self._sent) == self._rate.number:
            return max(self.opens_at, self._sent[0] + self._rate.per_s)
        return self.opens_at

    def width(self, now: float) -> int:
        """How many requests may be under way at once, 1 … WIDEST."""
        if not self.throttles:
            return WIDEST
        if self._probing:
            return 1
        window = max(self._before, self._since) if now >= self.opens_at else self._before
        halved = 2 if self.ceiling < math.inf else 1
        return min(max(window // SHARE // halved, 1), WIDEST)

    def went(self, turn: Turn, now: float) -> None:
        """Take note of a request that goes through the gate now."""
        if self._rate is not None and turn is Turn.SUBMIT:
            self._sent.append(now)

    def let_through(self, now: float, *, submit: bool) -> None:
        """Take note of a request that the service did not throttle; only those that it counts."""
        self._probing = False
        self._since += 1
        if submit:
            self.ceiling += CREEP
        self._let_through.append(now)
        if self.limit is not None:  # a limit that was passed is none any more
            self.limit = max(self.limit, float(self._counted_since(now - WINDOW_S)))

    def throttled(self, now: float, wait_s: float | None, *, flying: int, on_get: bool) -> None:
        """Close for `wait_s` seconds from now (None: the answer did not say); only ever extends a closure."""
        self.throttles += 1
        self.get_throttles += on_get
        self.counts_gets = self.counts_gets or on_get
        self.closed_at = now
        if wait_s is None:
            if not self._probing and self._since:
                self.ceiling = max(float(flying), 1.0)
            self._probing = True
            opens_at = now + NO_HEADER_S
        else:
            opens_at = now + wait_s + MARGIN_S
            self._closed_until = max(self._closed_until, opens_at)
        if now >= self.opens_at:  # a new closure, not one that is extended
            if wait_s is not None and self._since:
                self._learn_limit(now, opens_at)
            if self._since:
                self._before, self._since = self._since, 0
        self.opens_at = max(self.opens_at, opens_at)
        self._opened_at = self.opens_at

    def landed(self, now: float) -> None:
        """Take note that a job has ended: if jobs in flight are what is limited, there is room now."""
        if self._probing:
            self.opens_at = max(min(self.opens_at, now + LANDED_S), self._closed_until)

    def unreachable(self, now: float) -> int:
        """Close for a growing while because no connection could be made; return how many times in a row it was so."""
        if now >= self.opens_at:  # else somebody else has just found out
            self._missed += 1
            self.opens_at = now + min(0.5 * 2.0**self._missed, UNREACHABLE_LONGEST_S)
            self._closed_until = self.opens_at
        return self._missed

    def reached(self) -> None:
        """Take note that a connection was made."""
        self._missed = 0

    def _nearly_used_up(self, busy: int) -> bool:
        """Tell whether the window is where the last one ended: from here one by one, so that one 429 ends this one."""
        return self._before <= self._since + busy <= BEYOND * self._before

    def _learn_limit(self, now: float, opens_at: float) -> None:
        """Learn the limit a minute from what was let through in the window that has just been used up."""
        window = WINDOW_S if self._opened_at is None else min(opens_at - self._opened_at, WINDOW_S)
        counted = self._counted_since(max(now - WINDOW_S, self._opened_at or -math.inf))
        if counted and window > 0:
            self.limit = counted * WINDOW_S / window

    def _counted_since(self, moment: float) -> int:
        while self._let_through and self._let_through[0] <= moment:
            self._let_through.popleft()
        return len(self._let_through)


def cool_down(reply: Throttled, local_now: float) -> float | None:
    """Seconds until the announced reset, 0 … LONGEST_CLOSED_S; None when the answer names none.

    The reset is read against the answer's own Date header, so a skewed clock on either side cancels out; without
    one, against our clock (epoch seconds), and then believed up to LONGEST_S only. A reset in the past says nothing,
    and least of all "now". Retry-After is honoured where no reset is to be had.
    """
    if reply.reset_at is not None:
        now, longest = (local_now, LONGEST_S) if reply.date is None else (reply.date, LONGEST_CLOSED_S)
        if reply.reset_at >= now:
            return min(reply.reset_at - now, longest)
    return None if reply.retry_after is None else min(reply.retry_after, LONGEST_CLOSED_S)
