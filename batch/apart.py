"""A story told in a task of its own, so that whatever cancels its listener leaves its shields whole.

anyio's shields hold against anyio's scopes. asyncio's own cancellation (`task.cancel()`, `wait_for`, a script's Ctrl-C)
pierces those of the task it strikes: a thread would go on with a ledger that is closed, in a folder that is free.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def apart(story: Callable[[], Awaitable[T]]) -> T:
    """Await a story in a task of its own; raise what it raises as it is, in no group.

    Who waits here is struck; the story is cancelled by a scope and comes to its end first. An error of the story outranks
    the cancellation: it may name a request that was accepted.
    """
    ended: list[T] = []
    failure: BaseException | None = None

    async def tell() -> None:
        nonlocal failure
        try:
            ended.append(await story())
        except BaseException as exc:  # noqa: BLE001  raised again below
            failure = exc

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell)
    except asyncio.CancelledError:
        if not isinstance(failure, Exception):
            raise
    if failure is not None:
        raise failure
    return ended[0]
