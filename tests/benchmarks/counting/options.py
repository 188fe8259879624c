"""What the counting service is asked to be: a frozen value that goes to its process as one JSON argument.

The time of a job depends on its index only, the number at the end of its prompt: so the service, the floor that
knows the times beforehand and the ideal that is computed from them all speak of the same jobs.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, dataclass
from typing import Self

FAR = "127.0.0.2"
"""Loopback too, but not an address that the command takes for this machine: it is polled as the hosted service is.

On macOS it has to be made first: ifconfig lo0 alias 127.0.0.2.
"""
NEAR = "127.0.0.1"

GRID = "grid"
REOPENING = "reopening"
SLIDING = "sliding"


@dataclass(frozen=True, slots=True)
class Options:
    """One service. Times in seconds.

    A job takes `median_s` x exp(`sigma` x normal), 0: it is done at once. `limits` are (from second, calls a window),
    seconds since the first call that counts; empty: no limit. `windows` are fixed on a grid from the first call that
    counts ("grid"), fixed from the first call after the last one closed ("reopening"), or "sliding". `counts_gets`
    counts all calls, else submits alone. `header` names the reset in a 429. The service's clock, in Date and in the
    header, goes `skew_s` ahead. With `most_in_flight` a submit beyond it is a 429 without a header. `reported_times` lets
    a status answer carry the times of a finished job. A record is gone `record_s` after its submit.
    """

    host: str = FAR
    median_s: float = 0.0
    sigma: float = 0.0
    seed: int = 1
    limits: tuple[tuple[float, int], ...] = ()
    window_s: float = 60.0
    windows: str = GRID
    counts_gets: bool = False
    header: bool = True
    skew_s: float = 0.0
    most_in_flight: int | None = None
    reported_times: bool = True
    record_s: float = 3600.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**values | {"limits": tuple((at, limit) for at, limit in values["limits"])})

    def job_s(self, index: int) -> float:
        """Seconds that job `index` takes, from its submit to its end."""
        if not self.median_s:
            return 0.0
        return self.median_s * math.exp(self.sigma * random.Random(f"{self.seed}:{index}").gauss())

    def limit_at(self, since_s: float) -> int:
        """Return the calls a window that are allowed `since_s` after the first one."""
        return next(limit for at, limit in reversed(self.limits) if at <= since_s)
