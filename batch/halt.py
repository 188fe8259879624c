"""Why and how a run comes to its end before its work does.

First breath: there is a reason. Nothing more is submitted, what only waits to be submitted is dropped at once
(`until_asked`), what is in flight goes on, for as long as the run lets it (`end_within`).
Second breath (`hurry`): POSTs that have left get HURRIED_S to be answered, all else ends at once.
"""

from __future__ import annotations

import math
import signal
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio

from batch.errors import Interrupted, RunStopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from anyio.abc import TaskStatus

HURRIED_S = 5.0


class Halt:
    """The reason why no more work is submitted, once there is one; `asked` is set from then on."""

    def __init__(self) -> None:
        self.reason: RunStopped | None = None
        self.asked = anyio.Event()
        self._posting: set[anyio.CancelScope] = set()
        self._idle: set[anyio.CancelScope] = set()
        self._work: anyio.CancelScope | None = None
        self._ends_at = math.inf
        self._hurried = False

    def __repr__(self) -> str:
        return f"<Halt {self.reason}>" if self.reason else "<Halt not asked for>"

    def because(self, reason: str | RunStopped) -> None:
        """Stop submitting; the first reason stays."""
        self.reason = self.reason or (reason if isinstance(reason, RunStopped) else RunStopped(reason))
        self._ask()

    def interrupted_by(self, number: signal.Signals) -> None:
        """Stop submitting because of a signal, which outranks every other reason."""
        self.reason = Interrupted(f"{number.name} received. Run the same command to continue.", number)
        self._ask()

    def _ask(self) -> None:
        self.asked.set()
        for scope in self._idle:
            scope.cancel()

    def end_within(self, seconds: float) -> None:
        """End the work after so many seconds at the latest."""
        self._ends_at = min(self._ends_at, anyio.current_time() + seconds)
        if self._work is not None:
            self._work.deadline = self._ends_at

    def hurry(self) -> None:
        """End the work now; give the POSTs that have left HURRIED_S to be answered."""
        self._hurried = True
        for scope in self._posting:
            scope.deadline = anyio.current_time() + HURRIED_S
        self.end_within(0)

    def raise_if_asked(self) -> None:
        """Raise the reason, if there is one; for work in a thread that has sent nothing yet."""
        if self.reason:
            raise self.reason

    @contextmanager
    def working(self) -> Iterator[None]:
        """Do the run's work within the block, which is left when `end_within` or `hurry` says so."""
        with anyio.CancelScope(deadline=self._ends_at) as self._work:
            yield

    @contextmanager
    def until_asked(self) -> Iterator[None]:
        """Leave the block at its next await once there is a reason: for what may be dropped, as nothing was sent yet.

        A POST and its record are shielded; they are finished, and so is what follows them without an await.
        """
        with anyio.CancelScope() as scope:
            if self.reason:
                scope.cancel()
            self._idle.add(scope)
            try:
                yield
            finally:
                self._idle.discard(scope)

    @contextmanager
    def posting(self) -> Iterator[anyio.CancelScope]:
        """Shield a POST from every cancellation but the hurry's deadline; `cancelled_caught` says that it struck."""
        deadline = anyio.current_time() + HURRIED_S if self._hurried else math.inf
        with anyio.CancelScope(deadline=deadline, shield=True) as scope:
            self._posting.add(scope)
            try:
                yield scope
            finally:
                self._posting.discard(scope)


@asynccontextmanager
async def hearing_signals(halt: Halt, grace_s: float, warn: Callable[[str], None]) -> AsyncIterator[None]:
    """Let SIGINT and SIGTERM halt the run while the block goes on; only the main thread can hear them.

    After the first one what is in flight has `grace_s`. What the block raises is raised as it is, in no group.
    """
    failure: BaseException | None = None
    async with anyio.create_task_group() as beside:
        await beside.start(_hear, halt, grace_s, warn)
        try:
            yield
        except BaseException as exc:  # noqa: BLE001  raised again below
            failure = exc
        beside.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _hear(
    halt: Halt, grace_s: float, warn: Callable[[str], None], *, task_status: TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            if isinstance(halt.reason, Interrupted):
                halt.hurry()
                continue
            halt.interrupted_by(number)
            halt.end_within(grace_s)
            warn(
                f"{number.name}: submitting nothing more; what is in flight is awaited for up to {grace_s:.0f} s. "
                "Once more ends at once."
            )
