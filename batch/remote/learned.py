"""What a run has found out about its service, as text that the ledger keeps for the next one.

Rule: it only makes a start better. What cannot be read, or is too old to be believed, is left out.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batch.remote.gate import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

BELIEVED_S = 24 * 3600.0
"""That GETs count, or what the limit is, is forgotten after this: the next 429 tells it again."""


@dataclass(frozen=True, slots=True)
class Learned:
    """Job times in seconds by size of picture, the account's limit, and how many were in flight without meeting one.

    `limit` is requests a minute, None when no 429 was met; `limit_at` and `gets_at` say when the last 429 told that there
    is a limit, and that GETs count, in epoch seconds.
    """

    times: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    limit: float | None = None
    limit_at: float | None = None
    gets_at: float | None = None
    in_flight: int = 0

    def seen(self, now: float) -> Seen:
        """Return what is still to be believed of the account."""
        return Seen(
            limit=self.limit if _fresh(self.limit_at, now) else None, counts_gets=_fresh(self.gets_at, now)
        )

    def to_json(self) -> str:
        """Return it as text."""
        times = {size: [round(seconds, 3) for seconds in known] for size, known in self.times.items()}
        return json.dumps(
            {
                "times": times,
                "limit": self.limit,
                "limit_at": self.limit_at,
                "gets_at": self.gets_at,
                "in_flight": self.in_flight,
            }
        )

    @classmethod
    def from_json(cls, text: str | None) -> Learned:
        """Return what the text says; nothing learned where it says nothing that can be read."""
        try:
            found = json.loads(text or "{}")
        except ValueError:
            return cls()
        if not isinstance(found, dict):
            return cls()
        times = found.get("times")
        in_flight = _number(found.get("in_flight"))
        return cls(
            times={size: _times(known) for size, known in times.items()} if isinstance(times, dict) else {},
            limit=_number(found.get("limit")),
            limit_at=_number(found.get("limit_at")),
            gets_at=_number(found.get("gets_at")),
            in_flight=int(in_flight or 0),
        )


def _fresh(moment: float | None, now: float) -> bool:
    return moment is not None and abs(now - moment) < BELIEVED_S


def _times(known: Any) -> tuple[float, ...]:
    numbers = (_number(value) for value in known) if isinstance(known, list) else ()
    return tuple(value for value in numbers if value is not None)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)
