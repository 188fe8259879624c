"""How fast: slots for jobs in flight, and one gate that a 429 closes for everybody.

A 429 is one shared episode, not N private sleeps: the first one closes the gate until the announced reset, later
ones of the same closure only extend it, and when it opens a few requests at a time feel their way (`width`).
A 429 is not billed, so one is spent per window instead of predicting the limit. Submits always pass the gate;
GETs do once a 429 has been seen on a GET, and then a result goes before a status and a status before a submit.
`Gate` decides, on times handed in; `Pace` waits.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batch.remote.verdicts import Throttled

MARGIN_S = 0.3  # after the announced reset
NO_HEADER_S = 5.0  # a 429 that does not say until when
LONGEST_S = 65.0  # a reset read against our own clock is believed up to here
LONGEST_CLOSED_S = 900.0  # whatever is announced: one more 429 costs nothing, a closed gate may cost results
UNREACHABLE_LONGEST_S = 30.0
WINDOW_S = 60.0
WIDEST = 8
SHARE = 15  # one request at once for every so many accepted in the last window


class Turn(IntEnum):
    """What a request is for; the smaller goes first."""

    RESULT = 0
    STATUS = 1
    SUBMIT = 2


class Gate:
    """When the next request may go, and how many at once; times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        self.opens_at = 0.0
        self.counts_gets = False
        self.throttles = 0
        self._missed = 0
        self._accepted: deque[float] = deque(maxlen=WIDEST * SHARE)

    def accepted(self, now: float) -> None:
        """Take note of a request that the service let through."""
        self._accepted.append(now)

    def throttled(self, now: float, wait_s: float | None, *, on_get: bool) -> None:
        """Close for `wait_s` seconds from now (None: the answer did not say); only ever extends a closure."""
        self.throttles += 1
        self.counts_gets = self.counts_gets or on_get
        self.opens_at = max(self.opens_at, now + (NO_HEADER_S if wait_s is None else wait_s + MARGIN_S))

    def unreachable(self, now: float) -> int:
        """Close for a growing while because no connection could be made; return how many times in a row it was so."""
        if now >= self.opens_at:  # else somebody else has just found out
            self._missed += 1
            self.opens_at = now + min(0.5 * 2.0**self._missed, UNREACHABLE_LONGEST_S)
        return self._missed

    def reached(self) -> None:
        """Take note that a connection was made."""
        self._missed = 0

    def width(self, now: float) -> int:
        """How many requests may be under way at once, 1 … WIDEST."""
        if not self.throttles:
            return WIDEST
        while self._accepted and self._accepted[0] < now - WINDOW_S:
            self._accepted.popleft()
        return min(max(len(self._accepted) // SHARE, 1), WIDEST)


def cool_down(reply: Throttled, local_now: float) -> float | None:
    """Seconds until the announced reset, 0 … ; None when the answer names none.

    The reset is read against the answer's own Date header, so a skewed clock on either side cancels out; without
    one, against our clock (epoch seconds), and then believed up to LONGEST_S only. Retry-After is honoured too.
    """
    if reply.reset_at is not None:
        if reply.date is not None:
            return min(max(reply.reset_at - reply.date, 0.0), LONGEST_CLOSED_S)
        return min(max(reply.reset_at - local_now, 0.0), LONGEST_S)
    return reply.retry_after


@dataclass(order=True, slots=True)
class _Waiter:
    """Who stands before the gate: the more urgent first, then who came first."""

    kind: Turn
    number: int
    news: anyio.Event = field(default_factory=anyio.Event, compare=False)
    called: bool = field(default=False, compare=False)


class Pace:
    """The waiting: `slot` for a job in flight, `turn` for one request."""

    def __init__(self, concurrency: int, gate: Gate | None = None) -> None:
        self.gate = gate or Gate()
        self.concurrency = concurrency
        self._slots = anyio.Semaphore(concurrency)
        self._busy = 0
        self._order = itertools.count()
        self._waiting: list[_Waiter] = []

    def __repr__(self) -> str:
        busy = self.concurrency - self._slots.value
        try:
            cooling = self.gate.opens_at - anyio.current_time()
        except RuntimeError:  # looked at where no event loop runs
            cooling = 0.0
        return (
            f"<Pace {busy}/{self.concurrency} in flight{f', cooling {cooling:.1f}s' if cooling > 0 else ''}>"
        )

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the `concurrency` places for a job in flight."""
        async with self._slots:
            yield

    @asynccontextmanager
    async def turn(self, kind: Turn) -> AsyncIterator[None]:
        """Wait until a request of this kind may go, and hold its place in the gate until it is answered."""
        if kind is not Turn.SUBMIT and not self.gate.counts_gets:
            yield
            return
        waiter = _Waiter(kind, next(self._order))
        heapq.heappush(self._waiting, waiter)
        try:
            await self._called(waiter)
        except BaseException:
            if waiter.called:
                self._leave()
            else:
                self._waiting.remove(waiter)
                heapq.heapify(self._waiting)
            raise
        try:
            yield
        finally:
            self._leave()

    def throttled(self, reply: Throttled, local_now: float, *, on_get: bool = False) -> None:
        """Close the gate as the 429 says."""
        self.gate.throttled(anyio.current_time(), cool_down(reply, local_now), on_get=on_get)
        for waiter in self._waiting:
            waiter.news.set()  # the closure's end is to be waited for

    def unreachable(self) -> int:
        """Close the gate because no connection could be made; return how many times in a row it was so."""
        missed = self.gate.unreachable(anyio.current_time())
        for waiter in self._waiting:
            waiter.news.set()
        return missed

    def reached(self) -> None:
        """Tell the gate that a connection was made."""
        self.gate.reached()

    def accepted(self) -> None:
        """Tell the gate that a request was let through."""
        self.gate.accepted(anyio.current_time())

    async def _called(self, waiter: _Waiter) -> None:
        self._call()
        while not waiter.called:
            waiter.news = anyio.Event()
            cooling = self.gate.opens_at - anyio.current_time()
            with anyio.move_on_after(cooling if cooling > 0 else None):
                await waiter.news.wait()
            self._call()

    def _call(self) -> None:
        """Call waiters forward, as the gate allows."""
        now = anyio.current_time()
        while self._waiting and now >= self.gate.opens_at and self._busy < self.gate.width(now):
            waiter = heapq.heappop(self._waiting)
            waiter.called = True
            waiter.news.set()
            self._busy += 1

    def _leave(self) -> None:
        self._busy -= 1
        self._call()
