"""From a typed value to the text that a CSV of the same table would hold, so that every format means the same.

Rule 1: whole numbers are digits, whatever type carried them (7.0 is 7); other numbers keep every digit they need
and no more; truth is true and false; dates and times are ISO 8601. Rule 2: nothing (null, NaN, NaT) is no value.
Rule 3: what no cell can hold is a Fault with its remedy: a list, an infinity, a NUL, half a character.
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from batch.intake.typed import Fault

MOST_DIGITS = 40
"""Digits that a number is written out to; one like 1e1000000 stays as it is."""

_SECONDS_AN_HOUR = 3600


def as_cell(value: Any) -> str | Fault | None:
    """Return the text of a value, None where there is none, or why it has no text."""
    kind = type(value)
    if kind is str:
        return value if is_plain(value) else _text_fault(value)
    if value is None:
        return None
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if isinstance(value, float):
        return _of_float(float(value))
    return _rarer(value)


def is_plain(text: str) -> bool:
    """Tell whether a text has no NUL and no half of a surrogate pair."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text_fault(text: str) -> Fault:
    if "\0" in text:
        return Fault("there is a NUL character in it.", "Remove it.")
    return Fault("there is half a character in it (a lone surrogate).", "Write the character anew.")


def _of_float(value: float) -> str | Fault | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return Fault("is infinite.", "Give a number, or leave it empty.")
    return str(int(value)) if value.is_integer() else repr(value)


def _rarer(value: Any) -> str | Fault | None:
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if value != value:  # noqa: PLR0124  NaT, which is a datetime and nothing
        return None
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return _of_duration(value)
    if isinstance(value, bytes):
        try:
            return as_cell(value.decode())
        except UnicodeDecodeError:
            return Fault("holds bytes that are no UTF-8 text.", "Write the column as text.")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list | tuple | dict):
        return Fault("is a list or an object.", "Give one value.")
    return Fault(f"holds a {type(value).__name__}, which has no text.", "Write the column as text.")


def _of_decimal(value: Decimal) -> str | Fault | None:
    if not value.is_finite():
        return None if value.is_nan() else Fault("is infinite.", "Give a number, or leave it empty.")
    if not -MOST_DIGITS < value.adjusted() < MOST_DIGITS:
        return str(value)
    return str(int(value)) if value == value.to_integral_value() else f"{value:f}"


def _of_duration(value: timedelta) -> str:
    """Return hours:minutes:seconds, as a spreadsheet shows a span of time; days become hours."""
    sign = "-" if value < timedelta() else ""
    seconds, rest = divmod(abs(value), timedelta(seconds=1))
    hours, minutes = divmod(seconds, _SECONDS_AN_HOUR)
    fraction = f".{rest.microseconds:06d}".rstrip("0") if rest else ""
    return f"{sign}{hours}:{minutes // 60:02d}:{minutes % 60:02d}{fraction}"


def without_midnight(value: Any) -> Any:
    """Return the date of a datetime at midnight; everything else as it is. For formats that know no dates."""
    if isinstance(value, datetime) and value.time() == time.min:
        return value.date()
    return value
