"""Times as people and files read them, and the one clock of a run."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

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


def span(seconds: float) -> str:
    """Return a time as a person says it: 42 s, 5 min 3 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def rate(text: str) -> tuple[int, float]:
    """Return a rate like 50/1m as a number and seconds; raises UsageError."""
    number, slash, per = text.strip().partition("/")
    if not slash or not number.strip().isdecimal():
        raise UsageError(f"{text!r} is no rate. Write it like 50/1m or 600/60s.")
    return int(number), duration(per)


def steady_clock() -> Callable[[], float]:
    """Return a clock of epoch seconds that no change of the wall clock moves: it is read once, then only counted on.

    Deadlines, the record's hour and the time a lost submit is given would all jump with the wall clock, and the last
    of them decides about money. Time asleep counts where the system can tell it.
    """
    counter = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    offset = time.time() - time.clock_gettime(counter)
    return lambda: offset + time.clock_gettime(counter)
