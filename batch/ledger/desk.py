"""The async face of the ledger: one desk, one thread at a time, one commit for everyone who is waiting.

A row's transition needs an fsync before its POST may leave. Hundreds of rows in flight would each pay for their
own; here the calls that arrive while a commit is running share the next one. Each call runs under a savepoint of
its own, so an illegal move undoes itself and not its neighbours. `do` returns only when the commit is on disk.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import CancelScope, create_memory_object_stream

from batch.errors import FolderError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from batch.ledger.store import Ledger

T = TypeVar("T")


class _Call:
    """One call on its way through the desk, and what came of it."""

    def __init__(self, work: Callable[[Ledger], Any]) -> None:
        self.work = work
        self.done = anyio.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class Desk:
    """Hands calls to the ledger's thread; made by `open_desk`."""

    def __init__(self, ledger: Ledger, queue: MemoryObjectSendStream[_Call]) -> None:
        self._ledger = ledger
        self._queue = queue

    async def do(self, work: Callable[[Ledger], T]) -> T:
        """Run `work(ledger)` in a transaction; return its result once it is on disk, or raise what it raised.

        A cancelled caller does not undo its call: what was handed in is still written.
        """
        call = _Call(work)
        self._queue.send_nowait(call)
        await call.done.wait()
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result


@asynccontextmanager
async def open_desk(ledger: Ledger) -> AsyncIterator[Desk]:
    """Serve the ledger until the block ends; every call handed in by then is written, also on cancellation."""
    send, receive = create_memory_object_stream[_Call](math.inf)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_serve, ledger, receive)
        with send:
            yield Desk(ledger, send)


async def _serve(ledger: Ledger, receive: MemoryObjectReceiveStream[_Call]) -> None:
    """Commit what is handed in, a group at a time, and answer every call of it, whatever happens.

    The thread ends its commit before this returns, also where asyncio's own cancellation has pierced the shield.
    """
    loop = asyncio.get_running_loop()
    with CancelScope(shield=True), receive, ThreadPoolExecutor(1) as thread:
        async for call in receive:
            calls = [call, *_waiting(receive)]
            try:
                await loop.run_in_executor(thread, _commit, ledger, calls)
            except BaseException as exc:
                _fail(calls, _not_written(ledger, exc))
                if not isinstance(exc, Exception):
                    raise
            finally:
                for done in calls:
                    done.done.set()


def _waiting(receive: MemoryObjectReceiveStream[_Call]) -> list[_Call]:
    calls: list[_Call] = []
    while True:
        try:
            calls.append(receive.receive_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            return calls


def _commit(ledger: Ledger, calls: list[_Call]) -> None:
    """Carry out calls in one transaction; what comes of each, also of a commit that failed, is told to the call.

    One that has failed already is not carried out: a group that found no thread stays with the executor until there is one.
    """
    calls = [call for call in calls if call.error is None]
    try:
        with ledger.atomic() as connection:
            for call in calls:
                connection.execute("SAVEPOINT one_call")
                try:
                    call.result = call.work(ledger)
                except Exception as exc:
                    if isinstance(exc, sqlite3.Error) and not isinstance(exc, sqlite3.IntegrityError):
                        raise  # not this call's fault: the file is in trouble
                    call.error = exc
                    connection.execute("ROLLBACK TO one_call")
                connection.execute("RELEASE one_call")
    except Exception as exc:  # noqa: BLE001  the commit itself failed: nothing of this group is on disk
        _fail(calls, exc)


def _fail(calls: list[_Call], error: Exception) -> None:
    for call in calls:
        call.error = error


def _not_written(ledger: Ledger, exc: BaseException) -> FolderError:
    return FolderError(
        f"{ledger.path}: could not be written ({exc!r}). Nothing is lost: run again. Where this machine gives no more "
        "threads, end other programs or raise the limit (ulimit -u) before."
    )
