"""Times, money and lists as people and files read them, and the one clock of a run.

Money is integer micro-dollars everywhere; only text shows dollars.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from batch.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

MICRO = 1_000_000
"""Micro-dollars in a dollar."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def iso(moment: float | None) -> str:
    """Return epoch seconds as UTC ISO 8601 to the millisecond, or "" for None."""
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_duration(text: str) -> float:
    """Return a time like 90s, 15m, 2h or 1h30m in seconds; raises UsageError."""
    parts = _DURATION.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise UsageError(f"{text!r} is not a valid time. Write it like 90s, 15m or 2h.")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def format_usd(micro_dollars: int, decimals: int = 2) -> str:
    """Return micro-dollars as dollars: $0.03."""
    return f"${micro_dollars / MICRO:.{decimals}f}"


def format_price(micro_dollars: int) -> str:
    """Return a price as dollars with all the decimals that it has, at least two: $0.03, $0.0325."""
    whole, _, decimals = f"{micro_dollars / MICRO:.6f}".partition(".")
    return f"${whole}.{decimals.rstrip('0'):0<2}"


def format_span(seconds: float, *, tenths: bool = False) -> str:
    """Return a time as a person says it: 42 s, 5 min 3 s, 2 h 10 min; with `tenths` also 4.2 s, below ten seconds."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if tenths and seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, noun: str) -> str:
    """Return a number of things in words: 1 row, 2 rows."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def named(names: Sequence[str], most: int = 10) -> str:
    """Return the first names, and how many more there are: a, b and 3 more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def named_row(row: tuple[int, str], accepted: Collection[str] = ()) -> str:
    """Return a (row number, id) as a text, which says so where the id is one of those `accepted`."""
    number, row_id = row
    return f"{row_id} (row {number}{', accepted' if row_id in accepted else ''})"


def named_rows(rows: Sequence[tuple[int, str]], accepted: Collection[str] = ()) -> str:
    """Return the first of many (row number, id) as a text, and how many more there are; see `named_row`."""
    return named([named_row(row, accepted) for row in rows])


def parse_rate(text: str) -> tuple[int, float]:
    """Return a rate like 50/1m as a number and seconds; raises UsageError."""
    number, slash, per = text.strip().partition("/")
    if not slash or not number.strip().isdecimal():
        raise UsageError(f"{text!r} is not a valid rate. Write it like 50/1m or 600/60s.")
    return int(number), parse_duration(per)


def steady_clock() -> Callable[[], float]:
    """Return a clock of epoch seconds that no change of the wall clock moves: it is read once, then only counted on.

    Deadlines, the hour that a result lives and the time given to a lost submit would all jump with the wall clock, and
    the last of them decides about money. Time asleep counts where the system can measure it.
    """
    offset = time.time() - counter()
    return lambda: offset + counter()


counter: Callable[[], float] = partial(
    time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
"""Seconds since this machine was started, which no change of the wall clock moves."""


@cache
def boot() -> str | None:
    """Return the id of this boot, so that counters of two processes can be compared; None where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None
