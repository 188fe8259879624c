"""Amounts and times as the service writes them, read without a guess: what cannot be read is None."""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

MICRO = 1_000_000  # micro-dollars in a dollar
MOST_DOLLARS = 1_000_000_000  # more than any balance, and small enough for the ledger's 64-bit integers


def micro_dollars(value: object) -> int | None:
    """Read dollars as the service writes them, in whole micro-dollars (None: no amount); never through a float's rounding."""
    try:
        amount = Decimal(str(value))
        return int((amount * MICRO).to_integral_value()) if 0 <= amount < MOST_DOLLARS else None
    except (InvalidOperation, ValueError):
        return None


def read_seconds(value: object) -> float | None:
    """Read a duration in seconds as JSON has it."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e7 else None


def read_time(text: str | None) -> float | None:
    """Read a time of unpublished format as epoch seconds; None when it is none that we know.

    Known: ISO 8601 with or without zone (UTC), with a space for the T, epoch seconds or milliseconds, an HTTP date.
    """
    text = (text or "").strip()
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        seconds = number / 1000 if number > 1e11 else number
        return seconds if 1e8 < seconds < 1e11 else None  # neither a plain count of seconds nor infinity
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return read_date(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_date(text: str | None) -> float | None:
    """Read an HTTP date as epoch seconds."""
    try:
        moment = email.utils.parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_wait(text: str | None) -> float | None:
    """Read the seconds of a Retry-After, of a day at the most."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None
