"""How long a job takes, and on which worker: the model of time, pure but for the waiting for a worker.

Times are drawn from the server's seed and the job's ordinal, so two runs of one seed see the same latencies.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from batch.local.dice import Dice
    from batch.local.settings import LocalSettings

NEVER = -math.inf


def duration_s(settings: LocalSettings, dice: Dice, ordinal: int) -> float:
    """Return the least time job `ordinal` is PROCESSING; 0 where the engine's own time is all."""
    if settings.latency == "work":
        return 0.0
    if settings.latency == "fixed":
        return settings.latency_s
    return settings.latency_s * math.exp(dice.draw("latency", ordinal).gauss(0.0, settings.latency_sigma))


def start_s(settings: LocalSettings, last_used: float, now: float) -> float:
    """Return the time a worker needs to get ready: `cold_start_s` when it was idle for `cold_after_s`."""
    return settings.cold_start_s if now - last_used >= settings.cold_after_s else 0.0


class Slots:
    """The server's workers: a bounded number, first come first served, the warmest one first."""

    def __init__(self, count: int) -> None:
        self._free = [NEVER] * count
        self._turn = asyncio.Semaphore(count)

    @asynccontextmanager
    async def worker(self, clock: Callable[[], float]) -> AsyncIterator[float]:
        """Hold a worker; gives the time it was last used, NEVER for a fresh one."""
        async with self._turn:
            last_used = self._free.pop()
            try:
                yield last_used
            finally:
                self._free.append(clock())
