"""Why and how a run ends before its work does.

Warm shutdown (`request_stop`): submit nothing more, cancel jobs that have not been sent (`cancel_on_stop`), let jobs in
flight finish, with a deadline where there is one (`drain_within`).
Cold shutdown (`force_stop`): cancel everything except POSTs already sent, which get FORCED_POST_TIMEOUT_S to be answered.
"""

from __future__ import annotations

import asyncio
import math
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio

from batch.core.errors import Interrupted, RunStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

FORCED_POST_TIMEOUT_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(repr=False)
class StopController:
    """The reason why nothing more is submitted, once there is one; `stop_requested` is set from then on.

    `work` is the scope of the run's work, which is cancelled at `ends_at`, by the event loop's clock.
    """

    reason: RunStopped | None = None
    stop_requested: anyio.Event = field(default_factory=anyio.Event)
    work: anyio.CancelScope | None = None
    ends_at: float = math.inf
    _posting: set[anyio.CancelScope] = field(default_factory=set)
    _idle: set[anyio.CancelScope] = field(default_factory=set)
    _forced: bool = False

    def __repr__(self) -> str:
        return f"<StopController {self.reason}>" if self.reason else "<StopController not asked to stop>"

    def request_stop(self, reason: str | RunStopped) -> None:
        """Stop submitting. The first reason stays, but a signal outranks every other."""
        stopped = reason if isinstance(reason, RunStopped) else RunStopped(reason)
        self.reason = stopped if isinstance(reason, Interrupted) else self.reason or stopped
        self.stop_requested.set()
        for scope in self._idle:
            scope.cancel()

    def drain_within(self, seconds: float) -> None:
        """End the work after this many seconds at the latest."""
        self.ends_at = min(self.ends_at, asyncio.get_running_loop().time() + seconds)
        if self.work is not None:
            self.work.deadline = self.ends_at

    def force_stop(self) -> None:
        """End the work now; give the POSTs that have been sent FORCED_POST_TIMEOUT_S to be answered."""
        self._forced = True
        for scope in self._posting:
            scope.deadline = asyncio.get_running_loop().time() + FORCED_POST_TIMEOUT_S
        self.drain_within(0)

    def raise_if_stopped(self) -> None:
        """Raise the reason, if there is one; for work in a thread that has sent nothing yet."""
        if self.reason:
            raise self.reason

    @contextmanager
    def cancel_on_stop(self) -> Iterator[None]:
        """Leave the block at its next await once there is a reason: for what may be dropped, since nothing was sent yet.

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
    def shield_post(self) -> Iterator[None]:
        """Shield a POST from every cancellation except the deadline of `force_stop`, which leaves the block."""
        deadline = anyio.current_time() + FORCED_POST_TIMEOUT_S if self._forced else math.inf
        with anyio.CancelScope(deadline=deadline, shield=True) as scope:
            self._posting.add(scope)
            try:
                yield
            finally:
                self._posting.discard(scope)


@contextmanager
def handle_signals(
    stop: StopController,
    grace_s: float = 0.0,
    warn: Callable[[str], None] = lambda message: None,  # noqa: ARG005
    *,
    enabled: bool,
) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP stop the run while the block lasts; only the main thread can receive them.

    After the first signal, which `warn` reports, what is in flight has `grace_s`. A signal that was ignored when this
    process began stays ignored: SIGHUP under nohup, SIGINT in a background job.
    """
    loop = asyncio.get_running_loop()
    handled = (
        [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN] if enabled else []
    )
    for number in handled:
        loop.add_signal_handler(number, partial(_on_signal, stop, grace_s, warn, number))
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _on_signal(
    stop: StopController, grace_s: float, warn: Callable[[str], None], number: signal.Signals
) -> None:
    """Drain the run at the first signal, end it at the second; the event loop calls this, outside of every task."""
    if not isinstance(stop.reason, Interrupted):
        stop.request_stop(Interrupted(f"{number.name} received. Run the same command to continue.", number))
        stop.drain_within(grace_s)
        warn(
            f"{number.name}: submitting nothing more; jobs in flight are awaited for up to {grace_s:.0f} s. "
            "Send it again to end at once."
        )
    elif number is not signal.SIGHUP:  # a closing terminal sends several, and nobody is in a hurry
        stop.force_stop()


def isolated(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Let a coroutine run in a separate task, so that native asyncio cancellation of its caller cannot bypass shields.

    anyio's shields hold against anyio's scopes only: `task.cancel()`, `wait_for` or a script's Ctrl-C would end the task
    while a thread goes on with a ledger that is closed, in a folder that is free. If the caller is cancelled, the inner
    task is cancelled through its scope and finishes its clean-up before CancelledError propagates; an error of the inner
    task outranks it, because it may name a request that was accepted. Errors are raised as they are, in no group.
    """

    @wraps(function)
    async def in_own_task(*args: P.args, **kwargs: P.kwargs) -> T:
        results: list[T] = []
        failure: BaseException | None = None

        async def run() -> None:
            nonlocal failure
            try:
                results.append(await function(*args, **kwargs))
            except BaseException as exc:  # noqa: BLE001  raised again below
                failure = exc

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
        except asyncio.CancelledError:
            if not isinstance(failure, Exception):
                raise
        if failure is not None:
            raise failure
        return results[0]

    return in_own_task
