"""What a run may still spend: reserved before each POST, given back only when it certainly was not billed.

Integer micro-dollars, no clock, no I/O. The cap bounds what this run spends plus what was unknown or in flight in the
folder when it began, so `committed` starts with that. With no cap everything may be spent, and the price may be unknown.

The cap is kept as far as the price is known. A price that rises while jobs are in flight shows in the first new bill
only; from then on it is set aside, so the cap can be passed by the rise of what was in flight then, and by no more.
"""

from __future__ import annotations

from batch.errors import CapReached
from batch.ledger.states import Event

_GIVEN_BACK = frozenset(
    {Event.THROTTLE, Event.BOUNCE, Event.REFUSE, Event.FAIL, Event.FIND_FAILED, Event.ABSENT, Event.GIVE_UP}
)
"""Events after which a reserved job is certainly not billed. Not RESTART: an earlier run set that money aside."""

_BILLED = frozenset({Event.COMPLETE, Event.FIND_DONE})


class Budget:
    """One run's money: `price` is what the next job is expected to cost, None when nobody knows."""

    def __init__(self, cap: int | None, price: int | None, committed: int = 0) -> None:
        self.cap = cap
        self.price = price
        self.committed = committed

    def __repr__(self) -> str:
        return f"<Budget {self.committed}/{'unlimited' if self.cap is None else self.cap} micro-dollars>"

    def reserve(self) -> int | None:
        """Set the next job's price aside and return it; raises CapReached, setting nothing aside, when it does not fit."""
        if self.cap is not None and self.committed + (self.price or 0) > self.cap:
            raise CapReached(
                f"--max-cost ${self.cap / 1_000_000:.2f}: ${self.committed / 1_000_000:.2f} are spent or set aside, and "
                f"the next job may cost ${(self.price or 0) / 1_000_000:.4f}. Raise it, then run the same command."
            )
        self.committed += self.price or 0
        return self.price

    def moved(self, event: Event, estimate: int | None, cost: int | None) -> None:
        """Take note of what became of a job that had `estimate` set aside."""
        if event in _GIVEN_BACK:
            self.committed -= estimate or 0
        elif event in _BILLED and cost is not None:
            self.committed += cost - (estimate or 0)
            self.price = max(self.price or 0, cost)  # a price that rose is set aside from now on
