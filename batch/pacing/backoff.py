"""The loop that repeats a call which costs nothing, with exponential backoff and jitter.

See AWS Architecture Blog 2015, "Exponential Backoff And Jitter". The submit of a job is never repeated by `retry`: its
own loop (execution/submit.py) decides what may be sent again, and uses `Backoff.wait_s` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batch.core.config import Backoff

_Answer = TypeVar("_Answer")


async def retry(
    attempt: Callable[[], Awaitable[_Answer]],
    on: type[Exception],
    waits: Backoff,
    *,
    attempts: int,
    within_s: float = 60.0,
) -> _Answer:
    """Repeat a call that costs nothing while it raises `on`; return its answer, or raise what the last attempt raised.

    `waits` are the pauses, `attempts` bounds the calls; none is begun once `within_s` seconds are over.
    """
    give_up_at = anyio.current_time() + within_s
    failures = 0
    while True:
        try:
            return await attempt()
        except on:
            failures += 1
            if failures >= attempts or anyio.current_time() >= give_up_at:
                raise
        await anyio.sleep(waits.wait_s(failures))
