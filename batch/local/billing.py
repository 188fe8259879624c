"""The account: balance, team limit, what is billed; integer micro-dollars only.

A submit reserves the price of its job, so neither balance nor limit is ever overdrawn; COMPLETED turns the
reservation into a bill, FAILED gives it back. Each job is settled once: a second time is an error of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

MICRO = 1_000_000


def micro(usd: float) -> int:
    """Return USD as micro-dollars, rounded to the nearest."""
    return round(usd * MICRO)


def usd(micro_usd: int) -> float:
    """Return micro-dollars as the number the service prints."""
    return micro_usd / MICRO


def price(base_usd: float, spread: float, chance: random.Random) -> int:
    """Return the price of one job in micro-dollars, evenly within base · (1 ± spread)."""
    return micro(base_usd * (1 + spread * chance.uniform(-1, 1)))


class Bank:
    """Money of one account, micro-dollars; `limit` is the team's, None for none; `held` is reserved."""

    def __init__(self, balance: int, limit: int | None) -> None:
        self.balance = balance
        self.limit = limit
        self.billed = 0
        self.held = 0
        self._reserved: dict[str, int] = {}

    def refuses(self, cost: int) -> str | None:
        """Return why a job of `cost` cannot be taken, "credits" or "limit", or None when it can."""
        if self.balance - self.held < cost:
            return "credits"
        if self.limit is not None and self.billed + self.held + cost > self.limit:
            return "limit"
        return None

    def reserve(self, request_id: str, cost: int) -> None:
        """Set `cost` aside for a job that was accepted."""
        self._reserved[request_id] = cost
        self.held += cost

    def settle(self, request_id: str) -> int:
        """Bill the job and return what it cost."""
        cost = self.release(request_id)
        self.balance -= cost
        self.billed += cost
        return cost

    def release(self, request_id: str) -> int:
        """Give the reservation of a job back and return it."""
        cost = self._reserved.pop(request_id)
        self.held -= cost
        return cost
