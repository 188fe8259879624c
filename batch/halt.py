"""Why and how a run comes to its end before its work does.

First breath: there is a reason, nothing more is submitted, what is in flight goes on, for as long as the run lets it.
Second breath (`hurry`): POSTs that have left get HURRIED_S to be answered, all else ends at once.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from batch.errors import Interrupted, RunStopped

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

HURRIED_S = 5.0


class Halt:
    """The reason why no more work is submitted, once there is one; `asked` is set from then on."""

    def __init__(self) -> None:
        self.reason: RunStopped | None = None
        self.asked = anyio.Event()
        self._posting: set[anyio.CancelScope] = set()
        self._hurried = False

    def __repr__(self) -> str:
        return f"<Halt {self.reason}>" if self.reason else "<Halt not asked for>"

    def because(self, reason: str | RunStopped) -> None:
        """Stop submitting; the first reason stays."""
        self.reason = self.reason or (reason if isinstance(reason, RunStopped) else RunStopped(reason))
        self.asked.set()

    def interrupted_by(self, number: signal.Signals) -> None:
        """Stop submitting because of a signal, which outranks every other reason."""
        self.reason = Interrupted(f"{number.name} received. Run the same command to continue.", number)
        self.asked.set()

    def hurry(self) -> None:
        """Give the POSTs that have left HURRIED_S to be answered."""
        self._hurried = True
        for scope in self._posting:
            scope.deadline = anyio.current_time() + HURRIED_S

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
