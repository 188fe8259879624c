"""The waiting: places for jobs in flight, and turns at the gate that a 429 closes for everybody.

`Gate` and `Concurrency` decide, on times handed in; `Pace` waits. At the gate a result goes before a status and a status
before a submit, because a paid result is forgotten after an hour; GETs stand there only once a 429 was seen on one.
"""

from __future__ import annotations

import heapq
import itertools
import math
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import CapacityLimiter

from batch.remote.concurrency import Concurrency
from batch.remote.gate import Gate, Turn, cool_down
from batch.remote.polls import Polls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from batch.remote.verdicts import Throttled


AHEAD = 8
"""Jobs whose pictures are decoded and uploaded while every place in flight is taken."""


@dataclass(order=True, slots=True)
class _Waiter:
    """Who stands before the gate: the more urgent first, then who came first."""

    turn: Turn
    number: int
    news: anyio.Event = field(default_factory=anyio.Event, compare=False)
    called: bool = field(default=False, compare=False)
    gone: bool = field(default=False, compare=False)


class Pace:
    """`slot` holds a place for a job in flight, `turn` one for a request; both wait until there is one."""

    def __init__(self, concurrency: Concurrency | int, gate: Gate | None = None) -> None:
        self.gate = gate or Gate()
        if isinstance(concurrency, int):
            concurrency = Concurrency(concurrency, self.gate, Polls())
        self.concurrency = concurrency
        self._slots = CapacityLimiter(concurrency.allowed())
        self._line = CapacityLimiter(concurrency.allowed() + AHEAD)
        self._flying = 0
        self._busy = 0
        self._order = itertools.count()
        self._waiting: list[_Waiter] = []

    def __repr__(self) -> str:
        try:
            cooling = self.gate.opens_at - anyio.current_time()
        except RuntimeError:  # looked at where no event loop runs
            cooling = 0.0
        wait = f", cooling {cooling:.1f}s" if cooling > 0 else ""
        return f"<Pace {self._slots.borrowed_tokens}/{self.allowed} in flight{wait}>"

    @property
    def allowed(self) -> int:
        """How many jobs may be in flight now."""
        return int(self._slots.total_tokens)

    @property
    def holds_gets(self) -> bool:
        """Whether a GET would wait now until a time that the gate is closed."""
        return self.gate.counts_gets and anyio.current_time() < self.gate.opens_at

    async def line_up(self, job: int) -> None:
        """Wait until a job may be prepared: as many as may be in flight, and AHEAD more."""
        await self._line.acquire_on_behalf_of(job)

    def leave_line(self, job: int) -> None:
        """Make room for the next job: this one is done."""
        self._line.release_on_behalf_of(job)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the places for a job in flight."""
        place = object()  # one task may hold several
        await self._slots.acquire_on_behalf_of(place)
        try:
            yield
        finally:
            full = self._slots.available_tokens <= 0
            self._slots.release_on_behalf_of(place)
            self.concurrency.ended(anyio.current_time(), full=full)
            self._adjust()

    @contextmanager
    def flying(self) -> Iterator[None]:
        """Count a job as accepted and not yet ended within the block."""
        self._flying += 1
        try:
            yield
        finally:
            self._flying -= 1
            self.gate.landed(anyio.current_time())
            self._look_again()

    @asynccontextmanager
    async def turn(self, turn: Turn) -> AsyncIterator[Callable[[], None]]:
        """Wait until a request of this kind may go, and hold its place in the gate until the block ends.

        The block gets a call that leaves the gate at once, for what follows once the request is answered.
        """
        if turn is not Turn.SUBMIT and not self.gate.counts_gets:
            yield _nothing_held
            return
        waiter = _Waiter(turn, next(self._order))
        heapq.heappush(self._waiting, waiter)
        try:
            await self._called(waiter)
            yield partial(self._leave, waiter)
        finally:
            self._leave(waiter)

    def throttled(self, reply: Throttled, local_now: float, *, on_get: bool = False) -> None:
        """Close the gate as the 429 says."""
        wait_s = cool_down(reply, local_now)
        self.gate.throttled(anyio.current_time(), wait_s, flying=self._flying, on_get=on_get)
        self.concurrency.throttled()
        self._adjust()
        self._look_again()

    def unreachable(self) -> int:
        """Close the gate because no connection could be made; return how many times in a row it was so."""
        missed = self.gate.unreachable(anyio.current_time())
        self._look_again()
        return missed

    def reached(self) -> None:
        """Tell the gate that a connection was made."""
        self.gate.reached()

    async def opened(self) -> None:
        """Wait until the gate is not closed, without a turn: for an upload, which is free and no submit."""
        while anyio.current_time() < self.gate.opens_at:  # noqa: ASYNC110  it may have been closed for longer
            await anyio.sleep_until(self.gate.opens_at)

    def let_through(self, turn: Turn) -> None:
        """Tell the gate that the service took a request, if it is of a kind that the service counts."""
        if turn is Turn.SUBMIT or self.gate.counts_gets:
            self.gate.let_through(anyio.current_time(), submit=turn is Turn.SUBMIT)
            self._call()
            self._look_again()  # the gate may be wider now, for who still waits for the clock

    def _adjust(self) -> None:
        """Have as many places as there may be jobs in flight; who is in flight stays so."""
        allowed = self.concurrency.allowed()
        if allowed != self._slots.total_tokens:
            self._slots.total_tokens = allowed
            self._line.total_tokens = allowed + AHEAD

    async def _called(self, waiter: _Waiter) -> None:
        self._call()
        while not waiter.called:
            waiter.news = anyio.Event()
            with anyio.move_on_after(self._patience(waiter)):
                await waiter.news.wait()
            self._call()

    def _patience(self, waiter: _Waiter) -> float | None:
        """Return the seconds until the gate is worth a look; only who stands in front looks, the others are called."""
        if self._waiting[0] is not waiter:
            return None
        now = anyio.current_time()
        opens = self.gate.may_go(waiter.turn, now, self._busy, self._flying)
        return None if opens == math.inf else max(opens - now, 0.0)

    def _call(self) -> None:
        """Call waiters forward, as the gate allows, and have the next one look at the clock."""
        now, called = anyio.current_time(), False
        while self._waiting:
            front = self._waiting[0]
            if self.gate.may_go(front.turn, now, self._busy, self._flying) > now:
                break
            heapq.heappop(self._waiting)
            front.called = called = True
            front.news.set()
            self.gate.went(front.turn, now)
            self._busy += 1
        if called:  # only then: the next one looks by calling
            self._look_again()

    def _look_again(self) -> None:
        """Have who stands in front look at the gate again: something has changed."""
        if self._waiting:
            self._waiting[0].news.set()

    def _leave(self, waiter: _Waiter) -> None:
        """Give back the place in the gate, or the one in the queue before it; once."""
        if waiter.gone:
            return
        waiter.gone = True
        if waiter.called:
            self._busy -= 1
            self._call()
        else:
            self._waiting.remove(waiter)
            heapq.heapify(self._waiting)
        self._look_again()


def _nothing_held() -> None:
    """Leave the gate of a request that did not stand there."""
