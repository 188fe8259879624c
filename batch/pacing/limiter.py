"""Each request's turn, and how many jobs are prepared and in flight: `RateGate` and `Concurrency` decide, `Limiter` waits.

RateGate and Concurrency are pure: they decide on times handed in. Their constants were found by simulating windows, caps and
clocks; tests/unit/pacing/test_steering.py is such a simulation, with the figures to keep. Run it before changing them.

A 429 is one shared episode, not N private sleeps: the first one closes the gate until the announced reset, later ones of
the same closure only extend it, and when it opens, a few requests at a time test the limit (`max_parallel`). A 429 is not
billed, so one is spent per window instead of predicting the limit. Submits always pass the gate; GETs do once a GET was
answered with 429. There a result goes before a status and a status before a submit, because a paid result is forgotten
after an hour.

A 429 without a reset time may mean a full window or too many jobs in flight. The gate is then half open: one probe every
`probe_s` seconds, or JOB_DONE_S after a job has ended, until one succeeds. The number of jobs in flight at the first
such refusal becomes a ceiling, which rises again slowly with each accepted job. Nothing shortens a closure until an
announced time, or one because no connection could be made.

An account of R requests a minute with jobs of L seconds is filled by C = ceil(2.5 x R x L / 60) jobs; half of that costs
4 … 28 % of the time (simulated). Where no limit is known there is a slow start: one more in flight for each job that
ends while every slot is taken, so the number doubles once a job's time, until a 429 shows the limit, or until jobs
begin to take longer: then they only wait in another queue.

Whatever is asked for, jobs in flight stay under GUARD x R: with every request counted, the record of one more job would
expire before its turn to be fetched comes.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import CapacityLimiter

from batch.core.config import Timeouts
from batch.pacing.poll_schedule import PollSchedules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from batch.core.config import Rate

# The rate gate.

JOB_DONE_S = 1.0  # after a job has ended: it may have made room
LONGEST_S = 65.0  # a reset read against our own clock is believed up to here
LONGEST_CLOSED_S = 900.0  # whatever is announced: one more 429 costs nothing, a closed gate may cost results
WINDOW_S = 60.0
WIDEST = 8
BURST_SHARE = 15  # one request at once for every so many that succeeded in the last window
BEYOND = 1.2
"""Times what succeeded in the last window: the limit has risen, and requests need not go one by one."""
CREEP = 0.1  # the ceiling rises by this with each accepted job
MOST_COUNTED = 2000
"""Successes of the last window that are counted: an account with more a minute needs no guard."""

# Jobs in flight.

AHEAD = 8
"""Jobs whose images are decoded and uploaded while every slot is taken."""

START = 100
"""In flight while no limit is known: twice what the published account of 50 a minute can use. A 429 too many is free."""

MOST = 1000
"""In flight by itself: one core carries some hundred jobs a second, and no account is known that takes more."""

FILL = 2.5
CALLS_A_JOB = 3  # submit, status and result, where each counts
GUARD = 15
QUIET_S = 130.0  # without a 429 for two windows, though every slot was taken: the limit has changed
SLOWER = 1.5  # times the quickest median: more in flight would only wait longer
TYPICAL_S = 23.4  # of a job, by the vendor's page


class Priority(IntEnum):
    """The kind of a request; the smaller goes first."""

    RESULT = 0
    STATUS = 1
    SUBMIT = 2


@dataclass(frozen=True, slots=True)
class Throttled:
    """A 429: times in seconds since the epoch (UTC), `retry_after` in seconds; None where the answer has none."""

    reset_at: float | None
    date: float | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """What was learned about an account: requests a minute, None when no limit was met, and whether GETs count."""

    limit: float | None = None
    counts_gets: bool = False


class RateGate:
    """When requests may go, and how many at once; times are seconds on one monotonic clock.

    `rate` is the user's own bound: never more than so many submits in so many seconds. `known` comes from earlier runs.
    """

    def __init__(
        self,
        rate: Rate | None = None,
        known: AccountLimits | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  frozen
    ) -> None:
        known = known or AccountLimits()
        self._timeouts = timeouts
        self.limit = known.limit
        if rate is not None:
            self.limit = rate.per_minute if known.limit is None else min(rate.per_minute, known.limit)
        self.counts_gets = known.counts_gets
        self.opens_at = 0.0
        self._closed_until = 0.0  # nothing opens it earlier
        self.throttles = 0
        self.get_throttles = 0
        self.closed_at = -math.inf
        self.ceiling = math.inf
        self._probing = False
        self.failed_connections = 0  # in a row; a caller that reaches the service sets it to 0
        self._opened_at: float | None = None
        self._before = 0  # successes of the last window
        self._since = 0  # successes of this window
        self._successes: deque[float] = deque(maxlen=MOST_COUNTED)
        self._rate = rate
        self._sent: deque[float] = deque(maxlen=rate.number if rate else 1)

    def __repr__(self) -> str:
        limit = "no limit met" if self.limit is None else f"{self.limit:.0f} a minute"
        return (
            f"<RateGate {limit}{' of all requests' if self.counts_gets else ''}, {self.throttles} throttled>"
        )

    def earliest_send(
        self, priority: Priority, now: float, requests_in_gate: int, jobs_in_flight: int
    ) -> float:
        """Return the moment from which a request may go; infinity: not before another one is answered or a job ends.

        `jobs_in_flight` are accepted and have not ended.
        """
        one_by_one = requests_in_gate and self._nearly_used_up(requests_in_gate)
        if one_by_one or requests_in_gate >= self.max_parallel(now):
            return math.inf
        if priority is not Priority.SUBMIT:
            return self.opens_at
        if jobs_in_flight >= self.ceiling and not self._probing:
            return math.inf
        if self._rate is not None and len(self._sent) == self._rate.number:
            return max(self.opens_at, self._sent[0] + self._rate.per_s)
        return self.opens_at

    def max_parallel(self, now: float) -> int:
        """Return how many requests may be in the gate at once, 1 … WIDEST."""
        if not self.throttles:
            return WIDEST
        if self._probing:
            return 1
        window = max(self._before, self._since) if now >= self.opens_at else self._before
        halved = 2 if self.ceiling < math.inf else 1
        return min(max(window // BURST_SHARE // halved, 1), WIDEST)

    def on_send(self, priority: Priority, now: float) -> None:
        """Note a request that goes through the gate now."""
        if self._rate is not None and priority is Priority.SUBMIT:
            self._sent.append(now)

    def on_success(self, now: float, *, submit: bool) -> None:
        """Note a request that counts against the limit and was not throttled."""
        self._probing = False
        self._since += 1
        if submit:
            self.ceiling += CREEP
        self._successes.append(now)
        if self.limit is not None:  # a limit that was exceeded is too low
            self.limit = max(self.limit, float(self._successes_since(now - WINDOW_S)))

    def throttled(self, now: float, wait_s: float | None, *, jobs_in_flight: int, on_get: bool) -> None:
        """Close for `wait_s` seconds from now (None: the answer had no time); only ever extends a closure."""
        self.throttles += 1
        self.get_throttles += on_get
        self.counts_gets = self.counts_gets or on_get
        self.closed_at = now
        if wait_s is None:
            if not self._probing and self._since:
                self.ceiling = max(float(jobs_in_flight), 1.0)
            self._probing = True
            opens_at = now + self._timeouts.probe_s
        else:
            opens_at = now + wait_s + self._timeouts.reset_margin_s
            self._closed_until = max(self._closed_until, opens_at)
        if now >= self.opens_at:  # a new closure, not one that is extended
            if wait_s is not None and self._since:
                self._learn_limit(now, opens_at)
            if self._since:
                self._before, self._since = self._since, 0
        self.opens_at = max(self.opens_at, opens_at)
        self._opened_at = self.opens_at

    def on_job_done(self, now: float) -> None:
        """Note that a job has ended: if jobs in flight are what is limited, there is room now."""
        if self._probing:
            self.opens_at = max(min(self.opens_at, now + JOB_DONE_S), self._closed_until)

    def unreachable(self, now: float) -> int:
        """Close for a growing time because no connection could be made; return how many times in a row this happened."""
        if now >= self.opens_at:  # else another request has just found out
            self.failed_connections += 1
            self.opens_at = now + self._timeouts.unreachable.wait_s(self.failed_connections)
            self._closed_until = self.opens_at
        return self.failed_connections

    def _nearly_used_up(self, requests_in_gate: int) -> bool:
        """Return whether the window is where the last one ended: from here one by one, so that one 429 ends this one."""
        return self._before <= self._since + requests_in_gate <= BEYOND * self._before

    def _learn_limit(self, now: float, opens_at: float) -> None:
        """Learn the limit a minute from the successes of the window that has just been used up."""
        window = WINDOW_S if self._opened_at is None else min(opens_at - self._opened_at, WINDOW_S)
        counted = self._successes_since(max(now - WINDOW_S, self._opened_at or -math.inf))
        if counted and window > 0:
            self.limit = counted * WINDOW_S / window

    def _successes_since(self, moment: float) -> int:
        while self._successes and self._successes[0] <= moment:
            self._successes.popleft()
        return len(self._successes)


def cool_down(reply: Throttled, local_now: float) -> float | None:
    """Return the seconds until the announced reset, 0 … LONGEST_CLOSED_S; None when the answer names none.

    The reset is read against the answer's own Date header, so that a skewed clock on either side cancels out; without
    one, against our clock (epoch seconds), and then believed up to LONGEST_S only. A reset in the past means nothing,
    and least of all "now". Retry-After is honoured where there is no reset.
    """
    if reply.reset_at is not None:
        now, longest = (local_now, LONGEST_S) if reply.date is None else (reply.date, LONGEST_CLOSED_S)
        if reply.reset_at >= now:
            return min(reply.reset_at - now, longest)
    return None if reply.retry_after is None else min(reply.retry_after, LONGEST_CLOSED_S)


class Concurrency:
    """The number of jobs in flight, at most `ceiling`; with `auto` what the account can use of it.

    `start` is where an earlier run of the folder ended without having met a limit, 0 when there was none. `grown` is how
    many may be in flight without a limit that was met, 0 where one was.
    """

    def __init__(
        self, ceiling: int, gate: RateGate, polls: PollSchedules, *, auto: bool = False, start: int = 0
    ) -> None:
        self.ceiling = ceiling
        self.auto = auto
        self.grown = 0 if gate.limit is not None else max(start, START)
        self._gate = gate
        self._polls = polls
        self._quickest = math.inf
        self._begun: float | None = None

    def __repr__(self) -> str:
        return f"<Concurrency {self.allowed()}{' by itself' if self.auto else ''}>"

    def allowed(self) -> int:
        """Return how many jobs may be in flight now, at least 1."""
        number, limit = float(self.ceiling), self._gate.limit
        if self.auto:
            number = min(number, max(self.grown, 0 if limit is None else self._filling(limit)))
        if limit is not None:
            number = min(number, GUARD * limit)
        return max(int(number), 1)

    def throttled(self) -> None:
        """Note a 429: once it has shown the limit, what was grown without one counts no longer."""
        if self._gate.limit is not None:
            self.grown = 0

    def ended(self, now: float, *, full: bool) -> None:
        """Note a job that ended; `full`: every slot was taken until then."""
        if self._begun is None:
            self._begun = now
        if not (self.auto and full) or (median := self._polls.median()) is None:
            return
        self._quickest = min(self._quickest, median)
        closed_at = self._gate.closed_at
        quiet_since = closed_at if self._gate.limit is None else max(closed_at, self._begun)
        if median <= SLOWER * self._quickest and now - quiet_since > QUIET_S:
            self.grown = min(self.allowed() + 1, MOST)

    def _filling(self, limit: float) -> float:
        jobs = limit / CALLS_A_JOB if self._gate.counts_gets else limit
        return math.ceil(FILL * jobs * (self._polls.median() or TYPICAL_S) / 60)


@dataclass(order=True, slots=True)
class _Waiter:
    """A request that waits for its turn: the more urgent first, then the older one."""

    priority: Priority
    number: int
    wake: anyio.Event = field(default_factory=anyio.Event, compare=False)
    inside: bool = field(default=False, compare=False)
    gone: bool = field(default=False, compare=False)


class Limiter:
    """Bounds how many jobs are prepared (`admitted`), are in flight (`slot`), and when a request may go (`acquire`).

    Each prepared job holds a place of `admitted` by its number: as many as may be in flight, and AHEAD more.
    """

    def __init__(self, concurrency: Concurrency | int, gate: RateGate | None = None) -> None:
        self.gate = gate or RateGate()
        if isinstance(concurrency, int):
            concurrency = Concurrency(concurrency, self.gate, PollSchedules())
        self.concurrency = concurrency
        self._slots = CapacityLimiter(concurrency.allowed())
        self.admitted = CapacityLimiter(concurrency.allowed() + AHEAD)
        self._jobs_in_flight = 0
        self._requests_in_gate = 0
        self._order = itertools.count()
        self._waiting: list[_Waiter] = []

    def __repr__(self) -> str:
        try:
            cooling = self.gate.opens_at - anyio.current_time()
        except RuntimeError:  # no event loop runs here
            cooling = 0.0
        wait = f", cooling {cooling:.1f}s" if cooling > 0 else ""
        return f"<Limiter {self._slots.borrowed_tokens}/{self.allowed} in flight{wait}>"

    @property
    def allowed(self) -> int:
        """How many jobs may be in flight now."""
        return int(self._slots.total_tokens)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for one of the slots for jobs in flight, and hold it within the block."""
        holder = object()  # one task may hold several
        await self._slots.acquire_on_behalf_of(holder)
        try:
            yield
        finally:
            full = self._slots.available_tokens <= 0
            self._slots.release_on_behalf_of(holder)
            self.concurrency.ended(anyio.current_time(), full=full)
            self._adjust()

    @contextmanager
    def track_job(self) -> Iterator[None]:
        """Count a job as accepted and not yet ended within the block."""
        self._jobs_in_flight += 1
        try:
            yield
        finally:
            self._jobs_in_flight -= 1
            self.gate.on_job_done(anyio.current_time())
            self._advance()

    @asynccontextmanager
    async def acquire(self, priority: Priority) -> AsyncIterator[Callable[[], None]]:
        """Wait until a request of this kind may go, and hold its place in the gate until the block ends.

        The block gets a call that leaves the gate at once, for what follows once the request is answered.
        """
        if priority is not Priority.SUBMIT and not self.gate.counts_gets:
            yield lambda: None
            return
        waiter = _Waiter(priority, next(self._order))
        heapq.heappush(self._waiting, waiter)
        try:
            if self._waiting[0] is waiter:  # else nothing has changed for those before it
                self._advance()
            while not waiter.inside:
                waiter.wake = anyio.Event()
                with anyio.move_on_after(self._patience_s(waiter)):
                    await waiter.wake.wait()
                self._advance()
            yield partial(self._release, waiter)
        finally:
            self._release(waiter)

    def throttled(self, reply: Throttled, local_now: float, *, on_get: bool = False) -> None:
        """Close the gate as the 429 demands; `local_now` is our own clock in epoch seconds."""
        wait_s = cool_down(reply, local_now)
        self.gate.throttled(anyio.current_time(), wait_s, jobs_in_flight=self._jobs_in_flight, on_get=on_get)
        self.concurrency.throttled()
        self._adjust()
        self._advance()

    def unreachable(self) -> int:
        """Close the gate because no connection could be made; return how many times in a row this happened."""
        missed = self.gate.unreachable(anyio.current_time())
        self._advance()
        return missed

    async def wait_until_open(self) -> None:
        """Wait until the gate is not closed, without a turn: for an upload, which is free and not a submit."""
        while anyio.current_time() < self.gate.opens_at:  # noqa: ASYNC110  it may have been closed for longer
            await anyio.sleep_until(self.gate.opens_at)

    def on_success(self, priority: Priority) -> None:
        """Note a request that was not throttled, if it is of a kind that the service counts."""
        if priority is Priority.SUBMIT or self.gate.counts_gets:
            self.gate.on_success(anyio.current_time(), submit=priority is Priority.SUBMIT)
            self._advance()

    def _adjust(self) -> None:
        """Have as many slots as jobs may be in flight; those in flight go on."""
        allowed = self.concurrency.allowed()
        if allowed != self._slots.total_tokens:
            self._slots.total_tokens = allowed
            self.admitted.total_tokens = allowed + AHEAD

    def _patience_s(self, waiter: _Waiter) -> float | None:
        """Return after how many seconds to look at the gate again; only the first waiter looks, and wakes the others."""
        if self._waiting[0] is not waiter:
            return None
        now = anyio.current_time()
        opens = self.gate.earliest_send(waiter.priority, now, self._requests_in_gate, self._jobs_in_flight)
        return None if opens == math.inf else max(opens - now, 0.0)

    def _advance(self) -> None:
        """Let waiters into the gate as it allows, and have the next one look at the clock again: something has changed."""
        now = anyio.current_time()
        while self._waiting:
            first = self._waiting[0]
            opens = self.gate.earliest_send(first.priority, now, self._requests_in_gate, self._jobs_in_flight)
            if opens > now:
                break
            heapq.heappop(self._waiting)
            first.inside = True
            first.wake.set()
            self.gate.on_send(first.priority, now)
            self._requests_in_gate += 1
        if self._waiting:
            self._waiting[0].wake.set()

    def _release(self, waiter: _Waiter) -> None:
        """Give back the place in the gate, or in the queue before it; once."""
        if waiter.gone:
            return
        waiter.gone = True
        if waiter.inside:
            self._requests_in_gate -= 1
        else:
            self._waiting.remove(waiter)
            heapq.heapify(self._waiting)
        self._advance()
