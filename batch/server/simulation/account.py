"""The account: its money, in integer micro-dollars, and its rate limit.

A submit reserves the price of its job, so neither balance nor limit is ever overdrawn; COMPLETED turns the
reservation into a bill, FAILED gives it back. Each job is settled once: a second time is an error of ours.

The rate limit is a fixed window on an injected clock. It opens with the first call after the last one closed and admits
`limit` calls, however they are spread: so twice the limit can pass around its edge. Refused calls do not count.
"""

import random
from typing import NamedTuple

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


class SimulatedAccount:
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


class Verdict(NamedTuple):
    """Whether a call may pass; `remaining` calls of this window after it, which ends at `resets_at` (epoch s)."""

    allowed: bool
    remaining: int
    resets_at: float


class RateWindow:
    """The open window of the account."""

    def __init__(self) -> None:
        self._opened = float("-inf")
        self._used = 0

    def take(self, now: float, limit: int, window_s: float) -> Verdict:
        """Count one call at `now` (epoch seconds); `limit` is at least 1."""
        if not self._opened <= now < self._opened + window_s:
            self._opened, self._used = now, 0
        allowed = self._used < limit
        self._used += allowed
        return Verdict(allowed, max(0, limit - self._used), self._opened + window_s)
