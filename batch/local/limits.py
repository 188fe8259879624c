"""The rate limit: fixed windows, one a key, on an injected clock.

A window opens with the first call after the last one closed and admits `limit` calls, however they are spread:
so twice the limit can pass around its edge, as with any fixed window. Refused calls do not count.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call may pass; `remaining` calls of this window after it, which ends at `resets_at` (epoch s)."""

    allowed: bool
    remaining: int
    resets_at: float


@dataclass(frozen=True, slots=True)
class _Window:
    opened: float
    used: int


class Windows:
    """The open window of each key."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def take(self, key: str, now: float, limit: int, window_s: float) -> Verdict:
        """Count one call of `key` at `now`; `limit` is at least 1."""
        window = self._windows.get(key)
        if window is None or now >= window.opened + window_s or now < window.opened:
            window = _Window(now, 0)
        resets_at = window.opened + window_s
        if window.used >= limit:
            return Verdict(allowed=False, remaining=0, resets_at=resets_at)
        self._windows[key] = _Window(window.opened, window.used + 1)
        return Verdict(allowed=True, remaining=limit - window.used - 1, resets_at=resets_at)
