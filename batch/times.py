"""Times as people and files read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from batch.errors import UsageError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def iso(moment: float | None) -> str:
    """Return epoch seconds as UTC ISO 8601 to the millisecond, or "" for None."""
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(text: str) -> float:
    """Return a time like 90s, 15m, 2h or 1h30m in seconds; raises UsageError."""
    parts = _DURATION.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise UsageError(f"{text!r} is no time. Write it like 90s, 15m or 2h.")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
