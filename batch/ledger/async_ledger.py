"""The asynchronous face of a store that blocks: one thread, and one commit for all calls that are waiting (group commit).

A transition needs an fsync before its POST may leave. Hundreds of jobs in flight would each pay for their own; here the
calls that arrive during a commit share the next one. Each call runs under a savepoint of its own, so one that raises
undoes itself and not its neighbours. `run` returns only when the commit is on disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from batch.core.errors import FolderError
from batch.ledger.store import StoreFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from batch.ledger.store import LedgerStore

T = TypeVar("T")


@dataclass(slots=True)
class _Call:
    """One call that waits for its commit, and its outcome after it."""

    work: Callable[[LedgerStore], Any]
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class GroupCommit:
    """An AsyncLedger that hands calls to the store's own thread; made by `open_async_ledger`."""

    _store: LedgerStore
    _thread: ThreadPoolExecutor
    _waiting: deque[_Call] = field(default_factory=deque)
    _commit_is_due: bool = False
    """Whether the last commit that was asked for has not begun: it takes all calls that wait."""
    _last_commit: asyncio.Future[None] | None = None

    async def run(self, work: Callable[[LedgerStore], T]) -> T:
        """Run `work(store)` in a transaction; return its result once it is on disk, or raise what it raised.

        A cancelled caller does not undo its call: what was handed in is still written. Raises FolderError when the ledger
        cannot be written.
        """
        call = _Call(work)
        self._waiting.append(call)
        if self._last_commit is None or not self._commit_is_due:
            self._commit_is_due = True
            try:
                self._last_commit = asyncio.get_running_loop().run_in_executor(self._thread, self._commit)
            except Exception as exc:
                self._commit_is_due = False
                call.error = exc  # the executor may find a thread later: this call is not made up for then
                raise FolderError(
                    f"{self._store}: could not be written ({exc!r}). Nothing is lost: run again. Where this machine gives no "
                    "more threads, end other programs or raise the limit (ulimit -u) first."
                ) from exc
        await asyncio.shield(self._last_commit)
        if call.error is not None:
            raise call.error
        result: T = call.result
        return result

    def _commit(self) -> None:
        """Run the calls that wait in one transaction; a commit that fails is the outcome of all. Runs on the thread."""
        # Before the calls are taken: one that comes in between asks for a commit of its own, which may find it done.
        self._commit_is_due = False
        calls = [self._waiting.popleft() for _ in range(len(self._waiting))]
        calls = [call for call in calls if call.error is None]
        if not calls:
            return
        try:
            with self._store.atomic():
                for call in calls:
                    try:
                        with self._store.savepoint():
                            call.result = call.work(self._store)
                    except StoreFailed:
                        raise
                    except Exception as exc:  # noqa: BLE001  it is this call's own, and is raised to its caller
                        call.error = exc
        except Exception as exc:  # noqa: BLE001  nothing of this group is on disk, or all of it where only the mark failed
            for call in calls:
                call.error = exc


@asynccontextmanager
async def open_async_ledger(store: LedgerStore) -> AsyncIterator[GroupCommit]:
    """Serve the store until the block ends; every call handed in by then is written, also on cancellation.

    The thread ends its commit before this returns, even where asyncio's own cancellation has pierced every shield: the
    executor waits for it without the event loop.
    """
    with ThreadPoolExecutor(1) as thread:
        yield GroupCommit(store, thread)
