"""The rate limit, on times handed in. A refused call does not count; 429s are counted by the window they fell in."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from counting.options import GRID, SLIDING

if TYPE_CHECKING:
    from counting.options import Options


class Limit:
    """One key's limit. `throttled` counts the 429s by window, numbered from the first call that counts."""

    def __init__(self, options: Options) -> None:
        self.throttled: Counter[int] = Counter()
        self.first: float | None = None
        self._options = options
        self._opened = 0.0
        self._used = 0
        self._recent: deque[float] = deque()

    def take(self, now: float) -> float | None:
        """Count a call; None lets it pass, else it is refused until the time returned."""
        if not self._options.limits:
            return None
        if self.first is None:
            self.first = self._opened = now
        limit = self._options.limit_at(now - self.first)
        resets_at = (
            self._slide(now, limit) if self._options.windows == SLIDING else self._windowed(now, limit)
        )
        if resets_at is not None:
            self.refused(now)
        return resets_at

    def refused(self, now: float) -> None:
        """Note a 429, whatever its reason."""
        since_s = now - (self.first or now)
        self.throttled[int(since_s // self._options.window_s)] += 1

    def _windowed(self, now: float, limit: int) -> float | None:
        window_s = self._options.window_s
        passed = int((now - self._opened) // window_s)
        if passed:
            self._opened = self._opened + passed * window_s if self._options.windows == GRID else now
            self._used = 0
        if self._used >= limit:
            return self._opened + window_s
        self._used += 1
        return None

    def _slide(self, now: float, limit: int) -> float | None:
        while self._recent and self._recent[0] <= now - self._options.window_s:
            self._recent.popleft()
        if len(self._recent) >= limit:
            return self._recent[len(self._recent) - limit] + self._options.window_s
        self._recent.append(now)
        return None
