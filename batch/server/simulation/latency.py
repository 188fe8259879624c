"""How long a job takes, on which worker, and all other chance: pure but for waiting for a worker.

Times are drawn from the server's seed and the job's ordinal, so two runs with one seed have the same latencies.
"""

import asyncio
import math
import random
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from batch.server.settings import LocalSettings

NEVER = -math.inf


class SeededRandom:
    """The source of all repeatable draws of one server; without a seed a fresh one is taken.

    Every draw belongs to a purpose and an ordinal, never to the order of calls: the fifth job of a seeded server has
    the same request id, latency and cost whatever else happened before it. Nothing here protects anything: keys and
    file names come from `secrets`.
    """

    def __init__(self, seed: int | None) -> None:
        self._seed = secrets.randbits(128) if seed is None else seed

    def draw(self, purpose: str, ordinal: int) -> random.Random:
        """Return the generator of draw `ordinal` for `purpose`; asking again starts it again."""
        return random.Random(f"{self._seed}:{purpose}:{ordinal}")  # noqa: S311  repeatable, protects nothing

    def request_id(self, ordinal: int) -> str:
        """Return the request id of job `ordinal`, a UUID."""
        return str(uuid.UUID(int=self.draw("request id", ordinal).getrandbits(128), version=4))


def duration_s(settings: LocalSettings, random: SeededRandom, ordinal: int) -> float:
    """Return the least time job `ordinal` is PROCESSING; 0 where the engine's own time is all."""
    if settings.latency == "work":
        return 0.0
    if settings.latency == "fixed":
        return settings.latency_s
    return settings.latency_s * math.exp(random.draw("latency", ordinal).gauss(0.0, settings.latency_sigma))


def start_s(settings: LocalSettings, last_used: float, now: float) -> float:
    """Return the time a worker needs to get ready: `cold_start_s` when it was idle for `cold_after_s`."""
    return settings.cold_start_s if now - last_used >= settings.cold_after_s else 0.0


class WorkerSlots:
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
